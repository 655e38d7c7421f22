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

struct GeluBackwardArgs {  // dx = dy·gelu'(sum), elementwise
  Ref dx;                  // T, one of f32, f16 and bf16; may be dy itself
  CRef dy;                 // T or f32
  CRef sum;                // T
  int64_t count;
};
void gelu_backward(CudaBackend& backend, const char* op, const GeluBackwardArgs& args);

}  // namespace star
