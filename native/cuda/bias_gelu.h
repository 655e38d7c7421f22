// What follows a matrix product or a convolution whose library call could not do it by itself.
#pragma once

#include "cuda/cuda_backend.h"

namespace star {

struct BiasGeluArgs {  // sum = x + bias, y = gelu ? gelu(sum) : sum, each (rows, n)
  Ref y;               // T, one of f32, f16 and bf16; may be x itself
  Ref sum;             // T, optional
  CRef x;              // T or f32
  CRef bias;           // T (n), optional
  int64_t rows, n;
  bool gelu;
};
void bias_gelu(CudaBackend& backend, const char* op, const BiasGeluArgs& args);

}  // namespace star
