// Top-k and top-p of a row of logits by one block: which tokens may be drawn. See core/ops/sampling.h for their definitions.
#pragma once

#include "cuda/device/element.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/device/select.cuh"

namespace star {

constexpr int kStagedLogits = 16384;  // longest row that is kept in shared memory (64 KiB as float); longer ones are read again

// A row of logits, in dynamic shared memory as float when `staged`.
template <class T, bool staged>
struct LogitRow {
  const T* global;
  float* shared;

  __device__ __forceinline__ float operator()(int64_t v) const {
    if constexpr (staged)
      return shared[v];
    else
      return to_float(global[v]);
  }
};

// The order of floats as the order of unsigned integers; −0 and +0 are one.
__device__ __forceinline__ uint32_t order_key(float z) {
  const uint32_t bits = __float_as_uint(z == 0.0f ? 0.0f : z);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float from_order_key(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
}

// What a row is filtered by, the same for all rows.
struct TokenFilter {
  int64_t vocab, top_k;
  float top_p;
  float mass_unit;  // e^(z − max) is counted in whole 1 / mass_unit, a power of two for which a row's sum stays below 2^63
  int index_bits;   // bits of vocab − 1
};

// Tokens that stay: those with a larger key, and of those with this key the ones from `index` on.
struct TokenCut {
  uint32_t key;
  uint32_t index;

  __device__ __forceinline__ bool keeps(float z, int64_t v) const {
    const uint32_t k = order_key(z);
    return k > key || (k == key && v >= index);
  }
};

// Reads a row into shared memory (when `staged`; `space` lies before it) and finds its largest logit: +∞ when one is no number.
template <class T, bool staged, int n>
__device__ __forceinline__ LogitRow<T, staged> open_row(SelectSpace*& space, const T* logits, int64_t vocab, float& top) {
  space = dynamic_shared<SelectSpace>();
  float* copy = reinterpret_cast<float*>(space + 1);
  float largest = -INFINITY;
  for (int64_t v = static_cast<int64_t>(threadIdx.x) * n; v < vocab; v += kSelectThreads * n) {
    const Vector<T, n> in = load_vector<n>(logits + v);
#pragma unroll
    for (int k = 0; k < n; ++k) {
      const float z = to_float(in.v[k]);
      if constexpr (staged) copy[v + k] = z;
      largest = z == z ? fmaxf(largest, z) : INFINITY;
    }
  }
  top = block_max<kSelectThreads>(largest);
  return {logits, copy};
}

__device__ __forceinline__ bool finite(float x) { return fabsf(x) < INFINITY; }

// x in whole units.
__device__ __forceinline__ uint64_t mass_of(float x, float unit) { return static_cast<uint64_t>(x * unit); }

template <class Row>
__device__ __forceinline__ TokenCut filter_tokens(SelectSpace& space, const Row& row, const TokenFilter& f, float top) {
  TokenCut cut{0, 0};
  const auto key = [&](int64_t v) { return order_key(row(v)); };
  const auto one = [](int64_t) { return uint64_t{1}; };
  if (f.top_k > 0 && f.top_k < f.vocab)
    cut.key = select(space, f.vocab, 32, key, one, static_cast<uint64_t>(f.vocab - f.top_k)).key;
  if (f.top_p > 0.0f && f.top_p < 1.0f) {  // from 1 on nothing with a probability is removed
    const auto mass = [&](int64_t v) {
      const float z = row(v);
      return order_key(z) >= cut.key ? mass_of(expf(z - top), f.mass_unit) : uint64_t{0};
    };
    uint64_t own = 0;
    for (int64_t v = threadIdx.x; v < f.vocab; v += kSelectThreads) own += mass(v);
    const uint64_t all = block_total(space, own);
    // The last token always stays, however small top_p.
    uint64_t limit = static_cast<uint64_t>((1.0 - static_cast<double>(f.top_p)) * static_cast<double>(all));
    if (limit >= all) limit = all - 1;
    const Selected border = select(space, f.vocab, 32, key, mass, limit);
    cut.key = border.key;
    // Of equal logits the first ones go, as many as fit below the limit.
    const uint64_t removed = (limit - border.below) / mass_of(expf(from_order_key(border.key) - top), f.mass_unit);
    if (removed > 0) {
      const auto tie = [&](int64_t v) { return key(v) == border.key ? uint64_t{1} : uint64_t{0}; };
      const auto index = [](int64_t v) { return static_cast<uint32_t>(v); };
      cut.index = select(space, f.vocab, f.index_bits, index, tie, removed).key;
    }
  }
  return cut;
}

}  // namespace star
