// Matrices reduced along their rows: a block lies over a tile of columns and a range of rows, threads side by side in a row so
// that they read memory side by side.
#pragma once

#include "cuda/device/rows.cuh"

namespace star {

constexpr int kColumnThreads = 256;

// `lanes` threads side by side have n columns each; the block's other threads are kColumnThreads / lanes - 1 more rows of them.
struct ColumnTile {
  int lanes;  // at most 32
  int tiles;  // to cover all columns
  __host__ __device__ int rows() const { return kColumnThreads / lanes; }
  // The grid is one-dimensional (y and z end at 65,535, which a weight's columns exceed): tiles side by side for each item of
  // rows, so that blocks that run together read memory side by side.
  __device__ __forceinline__ int64_t item() const { return blockIdx.x / static_cast<unsigned>(tiles); }
  __device__ __forceinline__ int tile() const { return static_cast<int>(blockIdx.x % static_cast<unsigned>(tiles)); }
};

// Where a thread is in its tile.
struct ColumnPlace {
  int row;      // of the tile, 0 … tile.rows() - 1
  int64_t col;  // its first
  bool active;  // false for threads that have nothing to read

  __device__ __forceinline__ ColumnPlace(const ColumnTile& tile, int n, int64_t cols) {
    const int lane = static_cast<int>(threadIdx.x) % tile.lanes;
    row = static_cast<int>(threadIdx.x) / tile.lanes;
    col = (int64_t{tile.tile()} * tile.lanes + lane) * n;
    active = row < tile.rows() && col < cols;
  }
};

// use(load(r), r) for r = begin, begin + step, … below end, with `batch` loads under way at a time.
template <int batch, class Load, class Use>
__device__ __forceinline__ void each_row(int64_t begin, int64_t end, int step, Load load, Use use) {
  int64_t r = begin;
  for (; r + (batch - 1) * step < end; r += batch * step) {
    decltype(load(r)) values[batch];
#pragma unroll
    for (int b = 0; b < batch; ++b) values[b] = load(r + b * step);
#pragma unroll
    for (int b = 0; b < batch; ++b) use(values[b], r + b * step);
  }
  for (; r < end; r += step) use(load(r), r);
}

// Joins the values of threads in one column of the tile, row by row in a fixed order; row 0 receives the result. All threads of
// the block call it.
template <int n, class Join>
__device__ __forceinline__ void join_tile_rows(Floats<n>& x, const ColumnTile& tile, const ColumnPlace& place, Join join) {
  STAR_SHARED(float, slots, [n][kColumnThreads]);
  const int me = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int j = 0; j < n; ++j) slots[j][me] = x.v[j];
  __syncthreads();
  int half = 1;
  while (2 * half < tile.rows()) half *= 2;
  for (; half > 0; half /= 2) {
    if (place.row < half && place.row + half < tile.rows()) {
#pragma unroll
      for (int j = 0; j < n; ++j) slots[j][me] = join(slots[j][me], slots[j][me + half * tile.lanes]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int j = 0; j < n; ++j) x.v[j] = slots[j][me];
  __syncthreads();  // slots may be written again
}

}  // namespace star
