// Gradients of grouped convolutions as plain sums, for shapes where cuDNN has no deterministic algorithm: slower than the
// library's, in a fixed order of additions.
#pragma once

#include "cuda/cuda_backend.h"

namespace star {

// As in core/ops/conv.h; `weight` and `dweight` are in cuDNN's order (c_out, kh, kw, c_in / groups).
void grouped_backward_data(CudaBackend& backend, const char* op, const Ref& dx, const CRef& dy, const CRef& weight,
                           const ConvShape& s);
void grouped_backward_weight(CudaBackend& backend, const char* op, const Ref& dweight, const CRef& dy, const CRef& x,
                             const ConvShape& s);

}  // namespace star
