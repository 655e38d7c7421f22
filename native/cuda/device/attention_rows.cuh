// Tiles of attention in f32 arithmetic: rows of floats in shared memory. 256 threads in 16 rows of 16 compute a tile of scores,
// and what is summed with them as weights, a few rows each.
#pragma once

#include "cuda/device/element.cuh"
#include "cuda/device/shared.cuh"

namespace star {

constexpr int kRowThreads = 256, kSide = 16;

// Pitch of rows in shared memory: 8 rows, read 16 bytes each, lie in different banks.
template <int width>
constexpr int kPitch = width + 4;

// Rows [first, first + rows) of a head, `stride` elements apart, as floats in shared memory; zeros where there is no row below
// `count` or no channel below `dim`. `vectors`: rows may be read four elements at a time.
template <int rows, int kDim, class T>
__device__ __forceinline__ void load_rows(float* to, const T* head, int64_t stride, int first, int count, int dim, bool vectors) {
  for (int i = threadIdx.x; i < rows * kDim / 4; i += kRowThreads) {
    const int row = i / (kDim / 4), c = i % (kDim / 4) * 4;
    const T* from = head + (first + row) * stride + c;
    Vector<float, 4> x{};
    if (first + row < count) {
      if (vectors) {
        if (c < dim) {
          const auto loaded = load_vector<4>(from);
#pragma unroll
          for (int e = 0; e < 4; ++e) x.v[e] = to_float(loaded.v[e]);
        }
      } else {
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (c + e < dim) x.v[e] = to_float(from[e]);
      }
    }
    store_vector(to + row * kPitch<kDim> + c, x);
  }
}

// s[i][j] = row i of this thread · column j, where it has rows kRows·ty … and columns tx, tx + 16 …
template <int kRows, int kColumns, int kDim>
__device__ __forceinline__ void dot_rows(float (&s)[kRows][kColumns], const float* rows, const float* columns) {
  rows += threadIdx.x / kSide * kRows * kPitch<kDim>;
  columns += threadIdx.x % kSide * kPitch<kDim>;
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < kColumns; ++j) s[i][j] = 0.0f;
#pragma unroll 2
  for (int c = 0; c < kDim; c += 4) {
    Vector<float, 4> row[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) row[i] = load_vector<4>(rows + i * kPitch<kDim> + c);
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const auto column = load_vector<4>(columns + j * kSide * kPitch<kDim> + c);
#pragma unroll
      for (int i = 0; i < kRows; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) s[i][j] = fmaf(row[i].v[e], column.v[e], s[i][j]);
    }
  }
}

// Channels that a thread sums: kWide neighbours at a time, 16 threads side by side.
template <int kDim>
constexpr int kWide = kDim < 64 ? 2 : 4;

// o[i] += Σ_j weight[i][j]·row j of `from`. The weights of a row were computed by the 16 threads that read them here.
template <int kRows, int kColumns, int kDim>
__device__ __forceinline__ void add_weighted(float (&o)[kRows][kDim / kSide], float* weights, const float (&w)[kRows][kColumns],
                                             const float* from) {
  const int tx = threadIdx.x % kSide;
  weights += threadIdx.x / kSide * kRows * kPitch<kColumns * kSide>;
  __syncwarp();  // what stood there has been read
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < kColumns; ++j) weights[i * kPitch<kColumns * kSide> + tx + j * kSide] = w[i][j];
  __syncwarp();
#pragma unroll 2
  for (int j = 0; j < kColumns * kSide; j += 4) {
    Vector<float, 4> weight[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) weight[i] = load_vector<4>(weights + i * kPitch<kColumns * kSide> + j);
#pragma unroll
    for (int e = 0; e < 4; ++e)
#pragma unroll
      for (int n = 0; n < kDim / kSide / kWide<kDim>; ++n) {
        const auto x = load_vector<kWide<kDim>>(from + (j + e) * kPitch<kDim> + (tx + n * kSide) * kWide<kDim>);
#pragma unroll
        for (int i = 0; i < kRows; ++i)
#pragma unroll
          for (int c = 0; c < kWide<kDim>; ++c)
            o[i][n * kWide<kDim> + c] = fmaf(weight[i].v[e], x.v[c], o[i][n * kWide<kDim> + c]);
      }
  }
}

// Writes this thread's channels of its rows, times `factor[i]`, as rows from `first` of a head; none from `count` on.
template <int kRows, int kDim, class T>
__device__ __forceinline__ void store_sums(T* head, int64_t stride, int first, int count, int dim, bool vectors,
                                           const float (&o)[kRows][kDim / kSide], const float (&factor)[kRows]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int row = first + threadIdx.x / kSide * kRows + i;
    if (row >= count) continue;
#pragma unroll
    for (int n = 0; n < kDim / kSide / kWide<kDim>; ++n) {
      const int c = (threadIdx.x % kSide + n * kSide) * kWide<kDim>;
      Vector<T, kWide<kDim>> x;
#pragma unroll
      for (int e = 0; e < kWide<kDim>; ++e) x.v[e] = from_float<T>(o[i][n * kWide<kDim> + e] * factor[i]);
      if (vectors) {
        if (c < dim) store_vector(head + row * stride + c, x);
      } else {
#pragma unroll
        for (int e = 0; e < kWide<kDim>; ++e)
          if (c + e < dim) head[row * stride + c + e] = x.v[e];
      }
    }
  }
}

}  // namespace star
