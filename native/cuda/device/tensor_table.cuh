// Many tensors of one kind in one launch: a table that is passed by value among the kernel's parameters (32,764 bytes at most),
// and the piece of a tensor that a block finds in it.
#pragma once

#include <type_traits>

#include "cuda/device/kernel.cuh"

namespace star {

constexpr int kTableThreads = 256;

template <int tensors, class Entry>
struct TensorTable {
  static constexpr int kTensors = tensors;
  Entry entries[tensors];  // with a member `count`
  int first_block[tensors + 1];
  int size;
};

// Elements [begin, end) of one tensor.
struct TensorPiece {
  int tensor;
  int64_t begin, end;
};

// Block b of the launch has the pieces first_block[t] ≤ b < first_block[t + 1] of tensor t; no tensor of the table is empty.
template <int tensors, class Entry>
__device__ __forceinline__ TensorPiece find_piece(const TensorTable<tensors, Entry>& table, int64_t piece) {
  const int block = static_cast<int>(blockIdx.x);
  int low = 0, high = table.size;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (table.first_block[middle] <= block)
      low = middle;
    else
      high = middle;
  }
  const int64_t begin = (block - table.first_block[low]) * piece, count = table.entries[low].count;
  return {low, begin, begin + piece < count ? begin + piece : count};
}

// f(index) for the elements of the piece in this thread's share: kN at a time where `vectors` says so, with
// std::integral_constant<int, n> as second argument. piece.begin is a multiple of kN.
template <int kN, class F>
__device__ __forceinline__ void each_element(const TensorPiece& piece, bool vectors, F f) {
  const int64_t whole = vectors ? piece.begin + (piece.end - piece.begin) / kN * kN : piece.begin;
#pragma unroll 4
  for (int64_t i = piece.begin + int64_t{threadIdx.x} * kN; i < whole; i += kTableThreads * kN)
    f(i, std::integral_constant<int, kN>());
  for (int64_t i = whole + threadIdx.x; i < piece.end; i += kTableThreads) f(i, std::integral_constant<int, 1>());
}

}  // namespace star
