// How kernels that filter rows of logits (device/token_filter.cuh) are launched.
#pragma once

#include <cmath>

#include "cuda/device/token_filter.cuh"
#include "cuda/elementwise.h"

namespace star {

inline TokenFilter token_filter(int64_t vocab, int64_t top_k, float top_p) {
  int bits = 0;
  while (int64_t{1} << bits < vocab) ++bits;
  if (bits > 31) fail(ErrorCode::Argument, "a row has %lld logits, expected at most 2^31", static_cast<long long>(vocab));
  return {vocab, top_k, top_p, std::ldexp(1.0f, 62 - bits), bits};
}

template <bool staged>
LaunchShape filter_shape(int64_t rows, int64_t vocab) {
  return {dim3(blocks_for(rows, 1)), dim3(kSelectThreads),
          sizeof(SelectSpace) + (staged ? static_cast<size_t>(vocab) * sizeof(float) : 0)};
}

// Calls f with std::bool_constant<staged> and std::integral_constant<int, n>: how open_row reads rows of `vocab` logits.
template <class T, class F>
void with_row(const T* logits, int64_t vocab, F&& f) {
  with_vectors<T>(aligned(logits) && vocab % kVector<T> == 0, [&](auto n) {
    if (vocab <= kStagedLogits)
      f(std::true_type{}, n);
    else
      f(std::false_type{}, n);
  });
}

}  // namespace star
