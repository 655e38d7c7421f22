// Sums and maxima over a warp and over a block. The order of the additions is fixed by the lane and warp numbers, so results
// are the same bits every time, and every thread receives the same bits.
#pragma once

#include "cuda/device/shared.cuh"

namespace star {

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(kFullWarp, x, step);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, step));
  return x;
}

// All threads of a block of `threads` (a multiple of 32) call it; two barriers.
template <int threads>
__device__ __forceinline__ float block_sum(float x) {
  STAR_SHARED(float, partial, [threads / kWarp]);
  x = warp_sum(x);
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = x;
  __syncthreads();
  float total = 0.0f;
#pragma unroll
  for (int w = 0; w < threads / kWarp; ++w) total += partial[w];
  __syncthreads();  // partial may be written again
  return total;
}

template <int threads>
__device__ __forceinline__ float block_max(float x) {
  STAR_SHARED(float, partial, [threads / kWarp]);
  x = warp_max(x);
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = x;
  __syncthreads();
  float largest = partial[0];
#pragma unroll
  for (int w = 1; w < threads / kWarp; ++w) largest = fmaxf(largest, partial[w]);
  __syncthreads();
  return largest;
}

}  // namespace star
