#pragma once

#include "core/dtype.h"

namespace star {

enum class RandomKind : uint8_t {
  Uniform,          // a + (b − a)·u, u in [0, 1)
  Normal,           // a + b·z by Box–Muller
  TruncatedNormal,  // a + b·z with |z| ≤ 2, by the inverse of the normal distribution function
  Gumbel,           // −log(−log(u)), u in (0, 1)
};
struct RandomArgs {  // element i uses word i % 4 of Philox block offset + i / 4 (core/philox.h)
  Ref y;             // f32 (count)
  RandomKind kind;
  float a, b;
  uint64_t seed, offset;
  int64_t count;
};

}  // namespace star
