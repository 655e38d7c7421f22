#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::permute(const PermuteArgs&) { fail(ErrorCode::Internal, "cpu: permute is not built"); }
void CpuBackend::copy_block(const CopyBlockArgs&) { fail(ErrorCode::Internal, "cpu: copy_block is not built"); }

}  // namespace star
