#pragma once

#include "core/dtype.h"

namespace star {

// Geometry shared by the convolution and its two gradients. Images NHWC, weights OIHW as in the files. Channels may be in groups:
// the outputs of a group see the inputs of the same group only, and the weights have c_in / groups inputs. `groups` divides both
// channel counts; it is c_in in a depthwise convolution.
struct ConvShape {
  int64_t n, h, w, c_in, c_out, kh, kw, oh, ow;
  int64_t stride, pad_top, pad_left, pad_bottom, pad_right;
  int64_t groups = 1;

  int64_t group_in() const { return c_in / groups; }    // inputs of a group
  int64_t group_out() const { return c_out / groups; }  // outputs of a group
  int64_t weight_count() const { return c_out * group_in() * kh * kw; }
};

struct Conv2dArgs {  // y (n, oh, ow, c_out) = conv(x (n, h, w, c_in), weight (c_out, c_in / groups, kh, kw)) + bias (c_out)
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
