#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::reduce(const ReduceArgs&) { fail(ErrorCode::Internal, "cpu: reduce is not built"); }

}  // namespace star
