// Element-wise reductions of two arrays, as collectives apply them.
#pragma once

#include <cstddef>

#include "comm/process_group.h"

namespace star {

// out = a op b, n elements; `out` may be `a` or `b`.
using ReduceFunction = void (*)(void* out, const void* a, const void* b, size_t n);

ReduceFunction reduce_function(DType dtype, Reduction op);  // throws ERR_DTYPE for u8

}  // namespace star
