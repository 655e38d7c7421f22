#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace star {

void CpuBackend::draw(const DrawArgs&) { fail(ErrorCode::Internal, "cpu: draw is not built"); }
void CpuBackend::gumbel_mix(const GumbelMixArgs&) { fail(ErrorCode::Internal, "cpu: gumbel_mix is not built"); }

}  // namespace star
