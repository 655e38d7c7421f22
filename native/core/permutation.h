// What backends share of `permute`: the axes that are left when trivial ones are dropped and neighbours merged.
#pragma once

#include "core/ops/layout.h"

namespace star {

// Axes of the result with their strides in x and in y, in elements. None has size one, and no two lie one behind the other in
// both.
struct Permutation {
  int rank = 0;
  int64_t dims[Shape::kMaxRank];
  int64_t x_strides[Shape::kMaxRank];
  int64_t y_strides[Shape::kMaxRank];
};

Permutation simplify(const PermuteArgs& args);

}  // namespace star
