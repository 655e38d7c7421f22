// Sums and maxima over a warp and over a block. The order of the additions is fixed by the lane and warp numbers, so results
// are the same bits every time, and every thread receives the same bits.
#pragma once

#include "cuda/device/shared.cuh"

namespace star {

struct JoinSum {
  template <class V>
  __device__ __forceinline__ V operator()(V a, V b) const {
    return a + b;
  }
};
struct JoinMax {  // of a number and NaN, the number
  __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// join must be commutative and associative up to rounding.
template <class V, class Join>
__device__ __forceinline__ V warp_join(V x, Join join) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) x = join(x, __shfl_xor_sync(kFullWarp, x, step));
  return x;
}

// All threads of a block of `threads` (a multiple of 32) call it; two barriers.
template <int threads, class V, class Join>
__device__ __forceinline__ V block_join(V x, Join join) {
  STAR_SHARED(V, partial, [threads / kWarp]);
  x = warp_join(x, join);
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = x;
  __syncthreads();
  V total = partial[0];
#pragma unroll
  for (int w = 1; w < threads / kWarp; ++w) total = join(total, partial[w]);
  __syncthreads();  // partial may be written again
  return total;
}

__device__ __forceinline__ float warp_sum(float x) { return warp_join(x, JoinSum()); }
__device__ __forceinline__ float warp_max(float x) { return warp_join(x, JoinMax()); }

template <int threads>
__device__ __forceinline__ float block_sum(float x) {
  return block_join<threads>(x, JoinSum());
}
// Two sums for the barriers of one.
template <int threads>
__device__ __forceinline__ void block_sum2(float& x, float& y) {
  STAR_SHARED(float2, partial, [threads / kWarp]);
  x = warp_sum(x);
  y = warp_sum(y);
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = make_float2(x, y);
  __syncthreads();
  x = partial[0].x;
  y = partial[0].y;
#pragma unroll
  for (int w = 1; w < threads / kWarp; ++w) {
    x += partial[w].x;
    y += partial[w].y;
  }
  __syncthreads();
}
template <int threads>
__device__ __forceinline__ float block_max(float x) {
  return block_join<threads>(x, JoinMax());
}

}  // namespace star
