#pragma once

#include "core/dtype.h"

namespace star {

// Geometry shared by the convolution and its two gradients. Images NHWC, weights OIHW as in the files.
struct ConvShape {
  int64_t n, h, w, c_in, c_out, kh, kw, oh, ow;
  int64_t stride, pad_top, pad_left, pad_bottom, pad_right;
};

struct Conv2dArgs {  // y (n, oh, ow, c_out) = conv(x (n, h, w, c_in), weight (c_out, c_in, kh, kw)) + bias (c_out)
  Ref y;
  CRef x, weight, bias;  // bias optional
  ConvShape s;
};
struct Conv2dBackwardDataArgs {  // dx from dy
  Ref dx;
  CRef dy, weight;
  ConvShape s;
};
struct Conv2dBackwardWeightArgs {  // dweight and dbias (optional) from x and dy
  Ref dweight, dbias;
  CRef dy, x;
  ConvShape s;
};

}  // namespace star
