#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::global_norm(const GlobalNormArgs&) { fail(ErrorCode::Internal, "cpu: global_norm is not built"); }
void CpuBackend::adamw(const AdamWArgs&) { fail(ErrorCode::Internal, "cpu: adamw is not built"); }

}  // namespace star
