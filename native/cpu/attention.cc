#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::attention(const AttentionArgs&) { fail(ErrorCode::Internal, "cpu: attention is not built"); }
void CpuBackend::attention_backward(const AttentionBackwardArgs&) { fail(ErrorCode::Internal, "cpu: attention_backward is not built"); }

}  // namespace star
