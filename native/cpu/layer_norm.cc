#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::layer_norm(const LayerNormArgs&) { fail(ErrorCode::Internal, "cpu: layer_norm is not built"); }
void CpuBackend::layer_norm_backward(const LayerNormBackwardArgs&) { fail(ErrorCode::Internal, "cpu: layer_norm_backward is not built"); }

}  // namespace star
