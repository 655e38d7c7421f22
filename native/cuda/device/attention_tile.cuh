// Tiles of attention on tensor cores: rows of 64 channels of 16 bits in shared memory, and how warps read them as operands of
// mma_m16n8k16.
#pragma once

#include "cuda/device/element.cuh"
#include "cuda/device/ptx.cuh"
#include "cuda/device/shared.cuh"

namespace star {

constexpr int kTileDim = 64;       // channels of a head
constexpr int kTileRows = 64;      // keys (or queries) that are taken at a time
constexpr int kTileThreads = 128;  // 4 warps, each with 16 rows, or more, of its own
constexpr int kTileElements = kTileRows * kTileDim;

// Where 16 bytes of a row lie. Without the exclusive or, the 8 rows that ldmatrix reads at once would lie in the same banks.
template <class T>
__device__ __forceinline__ T* tile_at(T* tile, int row, int chunk) {
  return tile + row * kTileDim + ((chunk ^ (row & 7)) << 3);
}

// Begins to copy rows [first, first + rows) of a head, `stride` elements apart; rows from `count` on become zeros.
template <int rows, class T>
__device__ __forceinline__ void load_tile(T* tile, const T* head, int64_t stride, int first, int count) {
  const int chunk = threadIdx.x % 8;
#pragma unroll
  for (int i = 0; i < rows; i += kTileThreads / 8) {
    const int row = i + threadIdx.x / 8;
    const bool valid = first + row < count;
    cp_async_16(tile_at(tile, row, chunk), head + (valid ? (first + row) * stride : 0) + chunk * 8, valid);
  }
}

// Writes 16·blocks rows of a warp, that lie in a tile from `row` on, as rows from `first` of a head; none from `count` on.
template <int blocks, class T>
__device__ __forceinline__ void store_rows(T* head, int64_t stride, int first, int count, const T* tile, int row) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int i = lane / 8; i < 16 * blocks; i += 4)
    if (first + i < count)
      store_vector(head + (first + i) * stride + lane % 8 * 8, load_vector<8>(tile_at(tile, row + i, lane % 8)));
}

// Operand a: 16 rows of a tile from `row` on, channels [16·step, 16·step + 16).
template <class T>
__device__ __forceinline__ void load_a(uint32_t (&a)[4], const T* tile, int row, int step) {
  const int lane = threadIdx.x % kWarp;
  ldmatrix_x4(a, tile_at(tile, row + lane % 16, 2 * step + lane / 16));
}

// Operand a: the transpose of 16 rows from `row` on, columns [16·step, 16·step + 16) of them.
template <class T>
__device__ __forceinline__ void load_a_transposed(uint32_t (&a)[4], const T* tile, int row, int step) {
  const int lane = threadIdx.x % kWarp;
  ldmatrix_x4_trans(a, tile_at(tile, row + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2));
}

// d0 and d1 (16, 8) += a·b, columns 0 … 7 and 8 … 15 of b (16, 16) standing in b[0], b[1] and b[2], b[3].
template <class T>
__device__ __forceinline__ void multiply_add(float (&d0)[4], float (&d1)[4], const uint32_t (&a)[4], const uint32_t (&b)[4]) {
  const uint32_t left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
  mma_m16n8k16(d0, a, left, d0, T{});
  mma_m16n8k16(d1, a, right, d1, T{});
}

// Operand b (channels, rows): the transpose of 16 rows from `row` on, channels [16·step, 16·step + 16).
template <class T>
__device__ __forceinline__ void load_b_transposed(uint32_t (&b)[4], const T* tile, int row, int step) {
  const int lane = threadIdx.x % kWarp;
  ldmatrix_x4(b, tile_at(tile, row + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2));
}

// Operand b (rows, channels): 16 rows from `row` on, channels [16·step, 16·step + 16).
template <class T>
__device__ __forceinline__ void load_b(uint32_t (&b)[4], const T* tile, int row, int step) {
  const int lane = threadIdx.x % kWarp;
  ldmatrix_x4_trans(b, tile_at(tile, row + lane % 16, 2 * step + lane / 16));
}

// A result (16, 16) in two accumulators as operand a of the next product: the layouts are the same up to rounding.
template <class T>
__device__ __forceinline__ void as_a(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = pack<T>(left[0], left[1]);
  a[1] = pack<T>(left[2], left[3]);
  a[2] = pack<T>(right[0], right[1]);
  a[3] = pack<T>(right[2], right[3]);
}

// Puts the accumulators of a warp's 16 rows, times a factor for rows g and g + 8, into rows of a tile from `row` on.
template <class T>
__device__ __forceinline__ void accumulators_to_tile(T* tile, int row, const float (&d)[kTileDim / 8][4], float factor0,
                                                     float factor1) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < kTileDim / 8; ++n) {
    const uint32_t upper = pack<T>(d[n][0] * factor0, d[n][1] * factor0), lower = pack<T>(d[n][2] * factor1, d[n][3] * factor1);
    *reinterpret_cast<uint32_t*>(tile_at(tile, row + g, n) + 2 * t) = upper;
    *reinterpret_cast<uint32_t*>(tile_at(tile, row + g + 8, n) + 2 * t) = lower;
  }
}

}  // namespace star
