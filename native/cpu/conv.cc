#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::conv2d(const Conv2dArgs&) { fail(ErrorCode::Internal, "cpu: conv2d is not built"); }
void CpuBackend::conv2d_backward_data(const Conv2dBackwardDataArgs&) { fail(ErrorCode::Internal, "cpu: conv2d_backward_data is not built"); }
void CpuBackend::conv2d_backward_weight(const Conv2dBackwardWeightArgs&) { fail(ErrorCode::Internal, "cpu: conv2d_backward_weight is not built"); }

}  // namespace star
