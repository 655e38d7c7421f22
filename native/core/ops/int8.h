#pragma once

#include "core/ops/matmul.h"

namespace star {

// Rows in 8 bits, symmetric: x[r, c] ≈ q[r, c]·scale[r] with scale = max |x[r]| / 127 and q = round(x / scale), ties to even. A
// row whose largest element is below 1e-30 becomes zeros with scale 0, one with an infinity or NaN zeros with scale NaN.
struct QuantizeRowsArgs {
  Ref q;      // i8 (rows, cols)
  Ref scale;  // f32 (rows)
  CRef x;     // (rows, cols), a float type
  int64_t rows, cols;
};
constexpr float kSmallestRow = 1e-30f;

struct DequantizeRowsArgs {  // x = q·scale
  Ref x;                     // (rows, cols), a float type
  CRef q, scale;             // as above
  int64_t rows, cols;
};

// y = act(x̂·(w·wscale)ᵀ + bias), x̂ the rows of x in 8 bits as above: products and sums of whole numbers, which are exact, so that
// a row of y depends on its own row of x alone.
struct LinearInt8Args {
  Ref y;           // (rows, n)
  CRef x;          // (rows, k), the type of y
  CRef w, wscale;  // i8 (n, k), f32 (n)
  CRef bias;       // optional (n), the type of y
  int64_t rows, n, k;
  Activation activation;
};

}  // namespace star
