// Permutations of axes and block copies: bytes move, nothing is computed, so only the size of an element matters.
#include "core/permutation.h"
#include "cuda/cuda_backend.h"
#include "cuda/device/shared.cuh"
#include "cuda/elementwise.h"

namespace star {

namespace {

constexpr int kTile = 32;

__device__ __forceinline__ void offsets(const Permutation& axes, int64_t index, int64_t* x, int64_t* y) {
  *x = 0;
  *y = 0;
  for (int i = axes.rank - 1; i >= 0; --i) {
    const int64_t at = index % axes.dims[i];
    *x += at * axes.x_strides[i];
    *y += at * axes.y_strides[i];
    index /= axes.dims[i];
  }
}

// The last axis stays last: rows of `cols` units of T move.
template <class T>
__global__ void permute_rows_kernel(T* y, const T* x, Permutation rows, int64_t cols, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  int64_t from, to;
  offsets(rows, i / cols, &from, &to);
  y[to * cols + i % cols] = x[from * cols + i % cols];
}

// Transposes (height, width) planes through shared memory: element (h, w) lies at h + w·x_stride in x and h·y_stride + w in y.
// A block of 32 × 8 threads moves one tile of 32 × 32.
template <class T>
__global__ void permute_tiles_kernel(T* y, const T* x, Permutation planes, int64_t height, int64_t width, int64_t x_stride,
                                     int64_t y_stride, int64_t tiles_h, int64_t tiles_w) {
  STAR_SHARED(T, tile, [kTile][kTile + 1]);
  const int64_t w0 = blockIdx.x % tiles_w * kTile, h0 = blockIdx.x / tiles_w % tiles_h * kTile;
  int64_t from, to;
  offsets(planes, blockIdx.x / (tiles_w * tiles_h), &from, &to);
  for (int j = threadIdx.y; j < kTile; j += 8) {
    const int64_t h = h0 + threadIdx.x, w = w0 + j;
    if (h < height && w < width) tile[j][threadIdx.x] = x[from + h + w * x_stride];
  }
  __syncthreads();
  for (int j = threadIdx.y; j < kTile; j += 8) {
    const int64_t h = h0 + j, w = w0 + threadIdx.x;
    if (h < height && w < width) y[to + h * y_stride + w] = tile[threadIdx.x][j];
  }
}

// y[r·y_row + i] = x[r·x_row + i] for i < cols.
template <class T>
__global__ void copy_rows_kernel(T* y, const T* x, int64_t y_row, int64_t x_row, int64_t cols, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) y[i / cols * y_row + i % cols] = x[i / cols * x_row + i % cols];
}

// ---------------------------------------------------------------------------------------------------------------------------

// Axis `q` of the result is the last one of x, and another axis is the last of the result.
template <class T>
void permute_tiles(const Permutation& axes, int q, Ref y, CRef x, cudaStream_t stream) {
  const int last = axes.rank - 1;
  Permutation planes;
  int64_t count = 1;
  for (int i = 0; i < last; ++i) {
    if (i == q) continue;
    planes.dims[planes.rank] = axes.dims[i];
    planes.x_strides[planes.rank] = axes.x_strides[i];
    planes.y_strides[planes.rank++] = axes.y_strides[i];
    count *= axes.dims[i];
  }
  const int64_t height = axes.dims[q], width = axes.dims[last];
  const int64_t tiles_h = (height + kTile - 1) / kTile, tiles_w = (width + kTile - 1) / kTile;
  launch("permute", permute_tiles_kernel<T>, {dim3(blocks_for(count * tiles_h * tiles_w, 1)), dim3(kTile, 8)}, stream,
         static_cast<T*>(y.data), static_cast<const T*>(x.data), planes, height, width, axes.x_strides[last], axes.y_strides[q],
         tiles_h, tiles_w);
}

// Calls f with a value of the widest unit that divides every size and address in `sizes` (joined by |), in bytes.
template <class F>
void dispatch_unit(size_t sizes, F&& f) {
  if (sizes % 16 == 0) return f(int4{});
  if (sizes % 4 == 0) return f(uint32_t{});
  if (sizes % 2 == 0) return f(uint16_t{});
  f(uint8_t{});
}

// Moves the rows that the first axes number; the last axis is contiguous on both sides.
void permute_rows(const Permutation& axes, Ref y, CRef x, size_t element, cudaStream_t stream) {
  const int last = axes.rank - 1;
  const size_t row = static_cast<size_t>(axes.dims[last]) * element;
  Permutation rows = axes;
  rows.rank = last;
  int64_t count = 1;
  for (int i = 0; i < last; ++i) {
    rows.x_strides[i] = axes.x_strides[i] / axes.dims[last];
    rows.y_strides[i] = axes.y_strides[i] / axes.dims[last];
    count *= axes.dims[i];
  }
  dispatch_unit(row | reinterpret_cast<uintptr_t>(y.data) | reinterpret_cast<uintptr_t>(x.data), [&](auto unit) {
    using T = decltype(unit);
    const int64_t cols = static_cast<int64_t>(row / sizeof(T));
    launch("permute", permute_rows_kernel<T>, elementwise_shape(count * cols, 1), stream, static_cast<T*>(y.data),
           static_cast<const T*>(x.data), rows, cols, count * cols);
  });
}

}  // namespace

void CudaBackend::permute(const PermuteArgs& args) {
  const size_t element = dtype_size(args.x.dtype);
  const int64_t count = args.dims.count();
  if (count == 0) return;
  const Permutation axes = simplify(args);
  if (axes.rank <= 1) return copy(args.y.data, args.x.data, static_cast<size_t>(count) * element);
  if (axes.x_strides[axes.rank - 1] == 1) return permute_rows(axes, args.y, args.x, element, stream());
  int q = 0;
  while (axes.x_strides[q] != 1) ++q;
  switch (element) {
    case 4: return permute_tiles<uint32_t>(axes, q, args.y, args.x, stream());
    case 2: return permute_tiles<uint16_t>(axes, q, args.y, args.x, stream());
    default: return permute_tiles<uint8_t>(axes, q, args.y, args.x, stream());
  }
}

void CudaBackend::copy_block(const CopyBlockArgs& args) {
  if (args.y.dtype != args.x.dtype)
    fail(ErrorCode::DType, "copy_block: %s does not go into %s: cast the tensor first", dtype_name(args.x.dtype),
         dtype_name(args.y.dtype));
  const size_t unit = static_cast<size_t>(args.inner) * dtype_size(args.x.dtype), bytes = static_cast<size_t>(args.count) * unit;
  if (args.outer == 0 || bytes == 0) return;
  char* y = static_cast<char*>(args.y.data) + static_cast<size_t>(args.y_start) * unit;
  const char* x = static_cast<const char*>(args.x.data) + static_cast<size_t>(args.x_start) * unit;
  if (args.outer == 1) return copy(y, x, bytes);
  const size_t y_row = static_cast<size_t>(args.y_size) * unit, x_row = static_cast<size_t>(args.x_size) * unit;
  dispatch_unit(bytes | y_row | x_row | reinterpret_cast<uintptr_t>(y) | reinterpret_cast<uintptr_t>(x), [&](auto tag) {
    using T = decltype(tag);
    const int64_t cols = static_cast<int64_t>(bytes / sizeof(T)), count = args.outer * cols;
    launch("copy_block", copy_rows_kernel<T>, elementwise_shape(count, 1), stream(), reinterpret_cast<T*>(y),
           reinterpret_cast<const T*>(x), static_cast<int64_t>(y_row / sizeof(T)), static_cast<int64_t>(x_row / sizeof(T)), cols,
           count);
  });
}

}  // namespace star
