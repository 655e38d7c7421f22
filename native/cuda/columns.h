// Matrices reduced along their rows: how a block lies over one, and the sum over rows that several ops end with.
#pragma once

#include <algorithm>

#include "core/dtype.h"
#include "cuda/device/columns.cuh"
#include "cuda/launch.h"

namespace star {

class CudaBackend;

// For rows of `cols` elements read n at a time.
inline ColumnTile column_tile(int64_t cols, int n) {
  const int64_t vectors = (cols + n - 1) / n, tiles = (vectors + kWarp - 1) / kWarp;
  return {static_cast<int>((vectors + tiles - 1) / tiles), static_cast<int>(tiles)};
}

// A block for each of `items` and tile.
inline LaunchShape column_shape(int64_t items, const ColumnTile& tile) {
  return {dim3(blocks_for(items * tile.tiles, 1)), dim3(kColumnThreads)};
}

// The rows of a matrix in ranges of equal length (the last may be shorter), each for one block.
struct RowRanges {
  int64_t length, count;
};

// Every thread takes `at_least` rows or more, and there are at most `at_most` ranges. A function of the shape alone, so that
// results are the same on every GPU.
inline RowRanges row_ranges(int64_t rows, const ColumnTile& tile, int64_t at_least, int64_t at_most) {
  const int64_t each = std::max(at_least, (rows + tile.rows() * at_most - 1) / (tile.rows() * at_most));
  const int64_t length = each * tile.rows();
  return {length, std::max<int64_t>(1, (rows + length - 1) / length)};
}

// y[b, c] = Σ_r x[b, r, c], y (batch, cols) in f32, f16 or bf16. `op` names the op in errors.
void sum_over_rows(CudaBackend& backend, const char* op, const Ref& y, const float* x, int64_t batch, int64_t rows, int64_t cols);

}  // namespace star
