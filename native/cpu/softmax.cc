#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::softmax(const SoftmaxArgs&) { fail(ErrorCode::Internal, "cpu: softmax is not built"); }
void CpuBackend::softmax_backward(const SoftmaxBackwardArgs&) { fail(ErrorCode::Internal, "cpu: softmax_backward is not built"); }

}  // namespace star
