#pragma once

#include <vector>

#include "core/dtype.h"

namespace star {

// norm[0] = √ Σ over all tensors Σ x²  (accumulated in float64, order independent of the number of threads)
struct GlobalNormArgs {
  Ref norm;  // f32 (1), stays on the device
  std::vector<CRef> tensors;
  std::vector<int64_t> counts;
};

// finite[0] = 1 when no element of any tensor is infinite or NaN, else 0: whether the gradients of a scaled loss can be used.
struct FiniteArgs {
  Ref finite;  // i32 (1), stays on the device
  std::vector<CRef> tensors;
  std::vector<int64_t> counts;
};

// One AdamW step over many tensors in one call (Loshchilov & Hutter 2019). The gradients are those of a loss that was multiplied
// by 1 / grad_scale. With clip = min(1, max_norm / (norm·grad_scale + 1e-6)):
//   g = grad·grad_scale·clip;  m = β1·m + (1 − β1)·g;  v = β2·v + (1 − β2)·g²;
//   p = p·(1 − lr·wd);  p −= lr · m/(1 − β1^t) / (√(v/(1 − β2^t)) + ε);  rounded = p
struct AdamWTensor {
  Ref param, m, v;  // f32 (count)
  CRef grad;
  int64_t count;
  float weight_decay;
  Ref rounded{};  // optional, 16 bits (count): the weight that a model computes with, of which param is the f32 master
};
struct AdamWArgs {
  std::vector<AdamWTensor> tensors;
  CRef norm;  // optional f32 (1): global norm of the gradients as given; clipping is off without it
  float max_norm, grad_scale;
  float lr, beta1, beta2, eps;
  int64_t step;  // t, from 1
};

}  // namespace star
