// Selection without sorting: the item of a row at which a running sum of weights, taken in the order of integer keys, passes a
// limit. A radix select over digits of 11 bits: the weights of a digit's values are added up in shared memory, the value where
// the sum passes the limit is kept, and the next digit looks only at items that begin with it. Weights are integers, so sums are
// exact and no order of additions shows in a result.
#pragma once

#include "cuda/device/shared.cuh"

namespace star {

constexpr int kSelectThreads = 512;  // of a block that selects
constexpr int kSelectBits = 11;      // of a digit
constexpr int kSelectBins = 1 << kSelectBits;

// Shared memory of a selecting block.
struct SelectSpace {
  uint32_t low[kSelectBins], high[kSelectBins];  // 64-bit sums as two words: only 32-bit additions are native in shared memory
  uint64_t warps[kSelectThreads / kWarp];
  uint64_t below;
  uint32_t digit;
};

struct Selected {
  uint32_t key;    // Σ of weights with smaller keys ≤ limit < Σ with keys up to this one
  uint64_t below;  // Σ of weights with smaller keys
};

// Adds to a 64-bit sum. Every overflow of the low word is seen by exactly one addition, so the sum is right in any order.
__device__ __forceinline__ void add_weight(SelectSpace& space, uint32_t bin, uint64_t weight) {
  const uint32_t low = static_cast<uint32_t>(weight), old = low ? atomicAdd(&space.low[bin], low) : 0u;
  const uint32_t high = static_cast<uint32_t>(weight >> 32) + (old + low < old ? 1u : 0u);
  if (high) atomicAdd(&space.high[bin], high);
}

__device__ __forceinline__ uint64_t shuffle_up(uint64_t x, int by) {
  return static_cast<uint64_t>(__shfl_up_sync(kFullWarp, static_cast<unsigned long long>(x), by));
}

// Σ of x over the threads before this one; `total` becomes the sum of all. Two barriers, the first one at once.
__device__ __forceinline__ uint64_t block_sum_before(SelectSpace& space, uint64_t x, uint64_t& total) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  uint64_t sum = x;
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const uint64_t other = shuffle_up(sum, step);
    if (lane >= step) sum += other;
  }
  __syncthreads();  // `warps` may still be read for the sum before
  if (lane == kWarp - 1) space.warps[warp] = sum;
  __syncthreads();
  uint64_t before = 0;
  total = 0;
#pragma unroll
  for (int w = 0; w < kSelectThreads / kWarp; ++w) {
    if (w == warp) before = total;
    total += space.warps[w];
  }
  return before + sum - x;
}

__device__ __forceinline__ uint64_t block_total(SelectSpace& space, uint64_t x) {
  uint64_t total;
  block_sum_before(space, x, total);
  return total;
}

// key(i) has `bits` bits and weight(i) is what item i of [0, count) adds. Needs limit < Σ of all weights < 2^64.
// All kSelectThreads threads call it and get the same result.
template <class Key, class Weight>
__device__ __forceinline__ Selected select(SelectSpace& space, int64_t count, int bits, Key key, Weight weight, uint64_t limit) {
  Selected result{0, 0};
  for (int rest = bits; rest > 0;) {
    const int width = rest < kSelectBits ? rest : kSelectBits, shift = rest - width, bins = 1 << width;
    for (int b = threadIdx.x; b < bins; b += kSelectThreads) space.low[b] = space.high[b] = 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < count; i += kSelectThreads) {
      const uint32_t k = key(i);
      if (rest == bits || k >> rest == result.key) add_weight(space, k >> shift & (bins - 1), weight(i));
    }
    __syncthreads();
    // Each thread has the sum of some neighbouring bins; the one whose bins pass the limit looks for the bin.
    constexpr int kOwn = kSelectBins / kSelectThreads;
    const auto sum_of = [&](int bin) { return static_cast<uint64_t>(space.high[bin]) << 32 | space.low[bin]; };
    int bin = static_cast<int>(threadIdx.x) * kOwn;
    uint64_t own = 0;
    for (int b = bin; b < bin + kOwn && b < bins; ++b) own += sum_of(b);
    uint64_t all;
    uint64_t below = result.below + block_sum_before(space, own, all);
    if (below <= limit && limit < below + own) {
      while (below + sum_of(bin) <= limit) below += sum_of(bin++);
      space.digit = static_cast<uint32_t>(bin);
      space.below = below;
    }
    __syncthreads();
    result.key = result.key << width | space.digit;
    result.below = space.below;
    rest = shift;
  }
  return result;
}

}  // namespace star
