// 3×3 convolutions at stride 1 by Winograd's algorithm F(4×4, 3×3): a quarter of the multiplications of the sum itself, at all
// element types with f32 arithmetic. Images NHWC, weights OIHW. Results do not depend on the number of threads.
#pragma once

#include "core/allocator.h"
#include "core/ops/conv.h"

namespace star {

constexpr int64_t kTile = 4, kSpan = 6, kPoints = kSpan * kSpan;  // outputs and inputs of a tile, a side; values of a piece

// Whether a convolution is one that is faster this way.
bool winograd_fits(const ConvShape& s);

void winograd_forward(CachingAllocator& allocator, const Conv2dArgs& args);
void winograd_backward_data(CachingAllocator& allocator, const Conv2dBackwardDataArgs& args);
void winograd_backward_weight(CachingAllocator& allocator, const Conv2dBackwardWeightArgs& args);

}  // namespace star
