#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::heads(const HeadsArgs&) { fail(ErrorCode::Internal, "cpu: heads is not built"); }
void CpuBackend::heads_backward(const HeadsBackwardArgs&) { fail(ErrorCode::Internal, "cpu: heads_backward is not built"); }

}  // namespace star
