#pragma once

#include "core/dtype.h"

namespace star {

enum class Activation : uint8_t { None, Gelu };  // Gelu: tanh form

// c = act(op(a)·op(b) + bias) for each of `batch` matrices, op = transpose where asked.
// a: (batch, m, k) or (batch, k, m) when trans_a; b: (batch, k, n) or (batch, n, k) when trans_b; c: (batch, m, n).
struct MatmulArgs {
  Ref c;
  Ref pre_activation;  // optional (batch, m, n): op(a)·op(b) + bias, what gelu's gradient needs
  CRef a, b;
  CRef bias;  // optional (n)
  int64_t batch, m, n, k;
  int64_t a_stride, b_stride;  // elements from one matrix to the next; 0 uses the same matrix for the whole batch
  bool trans_a, trans_b;
  bool accumulate;  // c += …; not with bias or activation
  Activation activation;
};

// The gradients of a linear layer y = x·wᵀ + bias, y (rows, n), x (rows, k), w (n, k), bias (n).
struct LinearBackwardInputArgs {  // dx = dy·w; with x = gelu(sum), dx = (dy·w)·gelu'(sum): the gradient of what gelu was given
  Ref dx;                         // (rows, k)
  CRef dy, w;
  CRef sum;  // optional (rows, k), with gelu's tanh form
  int64_t rows, n, k;
};
struct LinearBackwardWeightArgs {  // dw = dyᵀ·x, dbias (optional) = Σ over rows of dy
  Ref dw, dbias;
  CRef dy, x;
  int64_t rows, n, k;
};

}  // namespace star
