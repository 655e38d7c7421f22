#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::group_norm(const GroupNormArgs&) { fail(ErrorCode::Internal, "cpu: group_norm is not built"); }
void CpuBackend::group_norm_backward(const GroupNormBackwardArgs&) { fail(ErrorCode::Internal, "cpu: group_norm_backward is not built"); }

}  // namespace star
