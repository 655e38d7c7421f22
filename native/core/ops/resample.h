#pragma once

#include "core/dtype.h"

namespace star {

// Resampling of NHWC images from (h, w) to (oh, ow); a backward takes dy (n, oh, ow, c) and writes dx (n, h, w, c).
enum class Resample : uint8_t {
  Nearest2x,  // oh = 2h, ow = 2w: y[i, j] = x[i/2, j/2]
  Area,       // adaptive average pooling: bin i covers [floor(i·h/oh), ceil((i+1)·h/oh))
  Bicubic,    // a = −0.75, align_corners false, no antialias, borders clamped
};
struct ResampleArgs {
  Ref y;
  CRef x;
  Resample kind;
  int64_t n, h, w, c, oh, ow;
};
struct ResampleBackwardArgs {
  Ref dx;
  CRef dy;
  Resample kind;
  int64_t n, h, w, c, oh, ow;
};

}  // namespace star
