#pragma once

#include <array>

#include "core/dtype.h"
#include "core/shape.h"

namespace star {

struct PermuteArgs {  // y = x with axis i of y taken from axis perm[i] of x; any dtype
  Ref y;
  CRef x;
  Shape dims;  // of x
  std::array<int, Shape::kMaxRank> perm;
};

// Copies a block along one axis: y[o, y_start + j, i] = x[o, x_start + j, i] for j < count. Concatenation, slices, cache writes.
struct CopyBlockArgs {
  Ref y;   // (outer, y_size, inner), any dtype
  CRef x;  // (outer, x_size, inner), the same dtype
  int64_t outer, inner, count;
  int64_t y_size, y_start, x_size, x_start;
};

}  // namespace star
