#pragma once

#include "core/dtype.h"

namespace star {

// n = (x − mean)·rstd over each row of `cols`; y = n·(1 + scale) + shift (modulation) or n·scale + shift (`affine`).
// scale and shift are optional, (mod_rows, cols) with row r using row r % mod_rows; (cols) is mod_rows = 1.
struct LayerNormArgs {
  Ref y;           // (rows, cols)
  Ref mean, rstd;  // (rows) f32, for the backward
  CRef x, scale, shift;
  int64_t rows, cols, mod_rows;
  bool affine;
  float eps;
};
struct LayerNormBackwardArgs {
  Ref dx, dscale, dshift;  // each optional; dscale, dshift (mod_rows, cols) are sums over the rows that used them
  CRef dy, x, mean, rstd, scale;
  int64_t rows, cols, mod_rows;
  bool affine;
};

// GroupNorm over NHWC: statistics over (hw, c/groups) per sample and group, then weight·n + bias, then SiLU when asked.
struct GroupNormArgs {
  Ref y;                 // (n, hw, c)
  Ref mean, rstd;        // (n, groups) f32
  CRef x, weight, bias;  // weight, bias (c)
  int64_t n, hw, c, groups;
  float eps;
  bool silu;
};
struct GroupNormBackwardArgs {
  Ref dx, dweight, dbias;  // each optional
  CRef dy, x, mean, rstd, weight, bias;
  int64_t n, hw, c, groups;
  bool silu;
};

// y = softmax(scale·x) over each row.
struct SoftmaxArgs {
  Ref y;
  CRef x;
  int64_t rows, cols;
  float scale;
};
struct SoftmaxBackwardArgs {  // dx = scale · y·(dy − Σ dy·y)
  Ref dx;
  CRef dy, y;
  int64_t rows, cols;
  float scale;
};

}  // namespace star
