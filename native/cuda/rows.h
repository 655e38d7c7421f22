// The choice of a layout for rows (device/rows.cuh) by their length.
#pragma once

#include "cuda/device/rows.cuh"
#include "cuda/elementwise.h"

namespace star {

// Calls f with a RowLayout for rows of `cols` elements of T; `vectors` says that every row begins at a multiple of 16 bytes.
template <class T, class F>
void with_rows(int64_t cols, bool vectors, F&& f) {
  with_vectors<T>(vectors, [&](auto n) {
    constexpr int kN = decltype(n)::value;
    if (cols <= 256) return f(RowLayout<kN, 32, 8 / kN>());
    if (cols <= 512) return f(RowLayout<kN, 32, 16 / kN>());
    if (cols <= 1024) return f(RowLayout<kN, 32, 32 / kN>());
    if (cols <= 4096) return f(RowLayout<kN, 256, 16 / kN>());
    if (cols <= 8192) return f(RowLayout<kN, 256, 32 / kN>());
    return f(RowLayout<kN, 512, 0>());
  });
}

template <class Layout>
LaunchShape row_shape(int64_t rows) {
  return {dim3(blocks_for(rows, Layout::kRows)), dim3(Layout::kBlock)};
}

// A kernel counts columns in int.
inline int checked_cols(int64_t cols, const char* op) {
  if (cols > INT32_MAX)
    fail(ErrorCode::Argument, "%s: rows of %lld elements, expected at most %d", op, static_cast<long long>(cols), INT32_MAX);
  return static_cast<int>(cols);
}

}  // namespace star
