#pragma once

#include "core/dtype.h"

namespace star {

enum class BinaryOp : uint8_t { Add, Sub, Mul, Div };
// y[o, m, i] = a[o, m, i] op b[m]: same shape is (1, count, 1), a bias (rows, c, 1), a factor per sample (1, b, rest).
struct BinaryArgs {
  Ref y;   // (outer, mid, inner); may be a itself
  CRef a;  // (outer, mid, inner)
  CRef b;  // (mid)
  BinaryOp op;
  int64_t outer, mid, inner;
};

// y = alpha·a + beta·b + gamma, elementwise over `count`; b optional. y may be a or b itself.
struct AffineArgs {
  Ref y;
  CRef a, b;
  float alpha, beta, gamma;
  int64_t count;
};

// Gelu is the tanh form, GeluErf x·Φ(x) itself.
enum class UnaryOp : uint8_t {
  Silu,
  Gelu,
  GeluErf,
  Relu,
  LeakyRelu,
  Tanh,
  Sigmoid,
  Exp,
  Log,
  Abs,
  Square,
  Sqrt,
  Reciprocal,
  Clamp
};
struct UnaryArgs {
  Ref y;
  CRef x;
  UnaryOp op;
  float p0, p1;  // LeakyRelu: slope; Clamp: low, high
  int64_t count;
};
struct UnaryBackwardArgs {  // dx = dy · f'(x)
  Ref dx;                   // may be dy itself
  CRef dy, x;
  UnaryOp op;
  float p0, p1;
  int64_t count;
};

struct FillArgs {
  Ref y;  // any dtype
  double value;
  int64_t count;
};
struct CastArgs {
  Ref y;  // any dtype to any dtype; to f16/bf16 rounds to nearest even, to i32/u8 truncates and saturates
  CRef x;
  int64_t count;
};

}  // namespace star
