#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::nearest_row(const NearestRowArgs&) { fail(ErrorCode::Internal, "cpu: nearest_row is not built"); }

}  // namespace star
