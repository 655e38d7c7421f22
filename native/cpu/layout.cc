// Permutations of axes and block copies: bytes move, nothing is computed, so only the size of an element matters.
#include <cstring>

#include "core/error.h"
#include "core/permutation.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"

namespace star {

namespace {

// Offset in x of the `index`-th position over the first `axes` axes of the result.
int64_t offset_of(const Permutation& plan, int axes, int64_t index) {
  int64_t offset = 0;
  for (int i = axes - 1; i >= 0; --i) {
    offset += index % plan.dims[i] * plan.x_strides[i];
    index /= plan.dims[i];
  }
  return offset;
}

// The last axis stays last: whole rows move.
void permute_rows(const Permutation& plan, void* y, const void* x, size_t element) {
  const int axes = plan.rank - 1;
  int64_t rows = 1;
  for (int i = 0; i < axes; ++i) rows *= plan.dims[i];
  const size_t row = static_cast<size_t>(plan.dims[axes]) * element;
  parallel_for(rows, std::max<int64_t>(1, 65536 / static_cast<int64_t>(row)), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      std::memcpy(static_cast<char*>(y) + static_cast<size_t>(r) * row,
                  static_cast<const char*>(x) + static_cast<size_t>(offset_of(plan, axes, r)) * element, row);
  });
}

// The last axis of x becomes axis `q` of the result and another axis becomes the last: transposes of (dims[q], dims[last]) planes
// in square tiles that fit the first cache. Tiles are the unit of parallel work.
template <class T>
void permute_tiles(const Permutation& plan, int q, T* y, const T* x) {
  constexpr int64_t kTile = 32;
  const int last = plan.rank - 1;
  const int64_t height = plan.dims[q], width = plan.dims[last], x_stride = plan.x_strides[last], y_stride = plan.y_strides[q];
  Permutation rest;  // the other axes
  int64_t planes = 1;
  for (int i = 0; i < last; ++i) {
    if (i == q) continue;
    rest.dims[rest.rank] = plan.dims[i];
    rest.x_strides[rest.rank] = plan.x_strides[i];
    rest.y_strides[rest.rank++] = plan.y_strides[i];
    planes *= plan.dims[i];
  }
  const int64_t tiles_h = (height + kTile - 1) / kTile, tiles_w = (width + kTile - 1) / kTile;
  const int64_t area = std::min(height, kTile) * std::min(width, kTile);
  parallel_for(planes * tiles_h * tiles_w, std::max<int64_t>(1, 16384 / area), [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t w0 = tile % tiles_w * kTile, h0 = tile / tiles_w % tiles_h * kTile;
      int64_t plane = tile / (tiles_w * tiles_h), x_at = h0 + w0 * x_stride, y_at = h0 * y_stride + w0;
      for (int i = rest.rank - 1; i >= 0; --i) {
        const int64_t index = plane % rest.dims[i];
        x_at += index * rest.x_strides[i];
        y_at += index * rest.y_strides[i];
        plane /= rest.dims[i];
      }
      const int64_t h = std::min(kTile, height - h0), w = std::min(kTile, width - w0);
      if (h < 8 || w < 8) {  // a few channels are no tile: the inner loop runs along the longer side
        for (int64_t j = 0; w < h && j < w; ++j)
          for (int64_t i = 0; i < h; ++i) y[y_at + i * y_stride + j] = x[x_at + i + j * x_stride];
        for (int64_t i = 0; w >= h && i < h; ++i)
          for (int64_t j = 0; j < w; ++j) y[y_at + i * y_stride + j] = x[x_at + i + j * x_stride];
        continue;
      }
      // Through a buffer whose rows lie an odd distance apart, so that strides of a power of two do not meet in one cache set.
      T tile_of_x[kTile * (kTile + 1)];
      for (int64_t j = 0; j < w; ++j)
        for (int64_t i = 0; i < h; ++i) tile_of_x[i * (kTile + 1) + j] = x[x_at + i + j * x_stride];
      for (int64_t i = 0; i < h; ++i)
        std::memcpy(y + y_at + i * y_stride, tile_of_x + i * (kTile + 1), static_cast<size_t>(w) * sizeof(T));
    }
  });
}

}  // namespace

void CpuBackend::permute(const PermuteArgs& args) {
  const size_t element = dtype_size(args.x.dtype);
  const int64_t count = args.dims.count();
  if (count == 0) return;
  const Permutation plan = simplify(args);
  if (plan.rank <= 1) return copy(args.y.data, args.x.data, static_cast<size_t>(count) * element);
  if (plan.x_strides[plan.rank - 1] == 1) return permute_rows(plan, args.y.data, args.x.data, element);
  int q = 0;
  while (plan.x_strides[q] != 1) ++q;
  switch (element) {
    case 4: return permute_tiles(plan, q, static_cast<uint32_t*>(args.y.data), static_cast<const uint32_t*>(args.x.data));
    case 2: return permute_tiles(plan, q, static_cast<uint16_t*>(args.y.data), static_cast<const uint16_t*>(args.x.data));
    default: return permute_tiles(plan, q, static_cast<uint8_t*>(args.y.data), static_cast<const uint8_t*>(args.x.data));
  }
}

void CpuBackend::copy_block(const CopyBlockArgs& args) {
  if (args.y.dtype != args.x.dtype)
    fail(ErrorCode::DType, "copy_block: %s does not go into %s: cast the tensor first", dtype_name(args.x.dtype),
         dtype_name(args.y.dtype));
  const size_t unit = static_cast<size_t>(args.inner) * dtype_size(args.x.dtype), bytes = static_cast<size_t>(args.count) * unit;
  if (args.outer == 0 || bytes == 0) return;
  char* y = static_cast<char*>(args.y.data) + static_cast<size_t>(args.y_start) * unit;
  const char* x = static_cast<const char*>(args.x.data) + static_cast<size_t>(args.x_start) * unit;
  if (args.outer == 1) return copy(y, x, bytes);
  const size_t y_row = static_cast<size_t>(args.y_size) * unit, x_row = static_cast<size_t>(args.x_size) * unit;
  parallel_for(args.outer, std::max<int64_t>(1, 65536 / static_cast<int64_t>(bytes)), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o)
      std::memcpy(y + static_cast<size_t>(o) * y_row, x + static_cast<size_t>(o) * x_row, bytes);
  });
}

}  // namespace star
