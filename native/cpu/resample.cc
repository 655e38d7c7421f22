#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::resample(const ResampleArgs&) { fail(ErrorCode::Internal, "cpu: resample is not built"); }
void CpuBackend::resample_backward(const ResampleBackwardArgs&) { fail(ErrorCode::Internal, "cpu: resample_backward is not built"); }

}  // namespace star
