#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::matmul(const MatmulArgs&) { fail(ErrorCode::Internal, "cpu: matmul is not built"); }

}  // namespace star
