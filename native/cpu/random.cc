#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::random(const RandomArgs&) { fail(ErrorCode::Internal, "cpu: random is not built"); }

}  // namespace star
