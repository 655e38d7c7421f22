#pragma once

#include "core/dtype.h"

namespace star {

enum class ReduceOp : uint8_t { Sum, SumSquares, SumAbs, Max };
// y[m] = scale · Σ over o and i of f(x[o, m, i]); all to one scalar is mid = 1. The mirror of BinaryArgs' broadcast.
// Sums run in a fixed order that does not depend on the number of threads.
struct ReduceArgs {
  Ref y;   // (mid)
  CRef x;  // (outer, mid, inner)
  ReduceOp op;
  float scale;
  int64_t outer, mid, inner;
};

}  // namespace star
