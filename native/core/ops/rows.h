#pragma once

#include "core/dtype.h"

namespace star {

// y[b, i] = ‖x[b, i] − center[b]‖², added up in f32.
struct RowDistancesArgs {
  Ref y;        // f32 (batch, length)
  CRef x;       // (batch, length, cols)
  CRef center;  // (batch, cols)
  int64_t batch, length, cols;
};

// positions[r] = the `keep` positions of row r with the highest scores, the lowest position first on a tie, in rising order.
struct TopPositionsArgs {
  Ref positions;  // i32 (rows, keep)
  CRef score;     // f32 (rows, length); not a number counts as −∞
  int64_t rows, length, keep;
};

// y[b, i] = x[b, positions[b, i]]; throws ERR_ARGUMENT for a position outside [0, length).
struct GatherRowsArgs {
  Ref y;           // (batch, count, cols), any dtype
  CRef x;          // (batch, length, cols), the same dtype
  CRef positions;  // i32 (batch, count)
  int64_t batch, length, count, cols;
};

// y[b, positions[b, i]] = x[b, i], the other rows of y stay; positions of a sample differ from each other. Throws ERR_ARGUMENT
// for a position outside [0, length).
struct ScatterRowsArgs {
  Ref y;           // (batch, length, cols), any dtype
  CRef x;          // (batch, count, cols), the same dtype
  CRef positions;  // i32 (batch, count)
  int64_t batch, length, count, cols;
};

}  // namespace star
