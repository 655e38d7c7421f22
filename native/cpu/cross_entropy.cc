#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::cross_entropy(const CrossEntropyArgs&) { fail(ErrorCode::Internal, "cpu: cross_entropy is not built"); }
void CpuBackend::cross_entropy_backward(const CrossEntropyBackwardArgs&) { fail(ErrorCode::Internal, "cpu: cross_entropy_backward is not built"); }

}  // namespace star
