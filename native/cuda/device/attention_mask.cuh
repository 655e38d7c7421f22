// Which keys the queries of attention may see: limits a query, a mask a key.
#pragma once

#include "cuda/device/kernel.cuh"

namespace star {

// How many keys query `row` may see at most.
__device__ __forceinline__ int limit_of(const int* key_limit, int row, int lk) {
  return key_limit ? min(__ldg(key_limit + row), lk) : lk;
}

// How many keys the queries of a block and of a warp see at most, and those of the warp at least. The same in all lanes.
struct TileLimits {
  int block, warp, least;
};
// A block's queries begin at `first`, this warp's `warp_rows` of them at first + row.
template <int rows, int warp_rows>
__device__ __forceinline__ TileLimits tile_limits(const int* key_limit, int first, int row, int lq, int lk) {
  TileLimits seen{0, 0, lk};
  for (int i = threadIdx.x % kWarp; i < rows; i += kWarp) {
    if (first + i >= lq) continue;
    const int limit = limit_of(key_limit, first + i, lk);
    seen.block = max(seen.block, limit);
    if (i < row || i >= row + warp_rows) continue;
    seen.warp = max(seen.warp, limit);
    seen.least = min(seen.least, limit);
  }
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    seen.block = max(seen.block, __shfl_xor_sync(kFullWarp, seen.block, step));
    seen.warp = max(seen.warp, __shfl_xor_sync(kFullWarp, seen.warp, step));
    seen.least = min(seen.least, __shfl_xor_sync(kFullWarp, seen.least, step));
  }
  return seen;
}

// Whether a key exists and is not masked.
__device__ __forceinline__ bool key_visible(const uint8_t* mask, int key, int lk) {
  return key < lk && (!mask || __ldg(mask + key) != 0);
}

// The lowest n bits, for any n.
__device__ __forceinline__ uint64_t low_bits(int n) { return n >= 64 ? ~uint64_t{0} : n <= 0 ? 0 : (uint64_t{1} << n) - 1; }

// The mask bytes of a lane for 64 keys from `key` on: loaded early, voted on when they are needed.
struct KeyBytes {
  uint8_t low, high;
};
__device__ __forceinline__ KeyBytes load_key_bytes(const uint8_t* mask, int key, int lk) {
  const int low = key + threadIdx.x % kWarp, high = low + kWarp;
  const bool masked = mask != nullptr;
  return {static_cast<uint8_t>(masked && low < lk ? __ldg(mask + low) : low < lk),
          static_cast<uint8_t>(masked && high < lk ? __ldg(mask + high) : high < lk)};
}
// Bit j: key + j exists and is not masked. The same in all lanes.
__device__ __forceinline__ uint64_t visible_keys(KeyBytes bytes) {
  return __ballot_sync(kFullWarp, bytes.low != 0) | static_cast<uint64_t>(__ballot_sync(kFullWarp, bytes.high != 0)) << 32;
}

// Takes keys that a query may not see out of its scores. `upper` and `lower` keys of the tile are within the limits of the rows
// g and g + 8.
template <int blocks>
__device__ __forceinline__ void mask_scores(float (&s)[blocks][4], uint64_t visible, int upper, int lower) {
  const int t = threadIdx.x % 4;
  const uint64_t upper_keys = (visible & low_bits(upper)) >> 2 * t, lower_keys = (visible & low_bits(lower)) >> 2 * t;
#pragma unroll
  for (int n = 0; n < blocks; ++n)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      if (!(upper_keys >> (8 * n + e) & 1)) s[n][e] = -INFINITY;
      if (!(lower_keys >> (8 * n + e) & 1)) s[n][2 + e] = -INFINITY;
    }
}

}  // namespace star
