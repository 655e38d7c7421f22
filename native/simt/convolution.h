// Convolutions by oneDNN on NHWC images and KRSC filters of any element type: what cuDNN's stand-in computes with.
#pragma once

#include <oneapi/dnnl/dnnl.hpp>

#include "simt/elements.h"

namespace star::simt {

struct Convolution {
  Element type;
  bool tf32;                                  // f32 operands are rounded to ten bits of mantissa
  dnnl::memory::dims x, w, y, strides, pads;  // n c h w, o i/groups h w
  int64_t groups = 1;
};

// y = conv(x, w) + bias (o), bias optional. Throws dnnl::error, and std::out_of_range where a GPU would fault: when an operand
// does not lie within an allocation of device memory.
void convolve(const Convolution& c, const void* x, const void* w, const void* bias, void* y);
// `vary`: the last bits differ from call to call, as with sums that meet in no fixed order.
void convolve_backward_data(const Convolution& c, const void* w, const void* dy, bool vary, void* dx);
void convolve_backward_weight(const Convolution& c, const void* x, const void* dy, bool vary, void* dw);

}  // namespace star::simt
