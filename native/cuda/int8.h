// From sums of whole numbers to the result of a linear layer in 8 bits (kernels/int8.cu).
#pragma once

#include "cuda/cuda_backend.h"

namespace star {

// y = act(sums·xscale·wscale + bias).
struct ScaleSumsArgs {
  Ref y;                // (rows, n), a float type
  CRef sums;            // i32 (rows, n)
  CRef xscale, wscale;  // f32 (rows), f32 (n)
  CRef bias;            // optional (n), the type of y
  int64_t rows, n;
  bool gelu;  // tanh form
};
void scale_sums(CudaBackend& backend, const ScaleSumsArgs& args);

}  // namespace star
