// Rows of a table by index, and the sums of row gradients.
// The backward adds in the order of the positions without atomics on floats: a stable counting sort of the ids on the device,
// then each row adds the gradients of its positions. Its work is count + rows·tiles, where a block for each row that looks
// through all ids would need rows·count: 50,000 ids and 16,384 rows are 0.8 million counters against 0.8 billion comparisons.
#include "cuda/cuda_backend.h"
#include "cuda/device/element.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/dispatch.h"
#include "cuda/elementwise.h"

namespace star {

namespace {

constexpr int kCopyThreads = 256;
constexpr int kTile = 1024;  // ids that one block ranks

// y (count, words) = table[ids[i]]. A block copies kCopyThreads / words rows, or one row when it is longer.
template <class Word>
__global__ void embedding_kernel(Word* y, const Word* table, const int32_t* ids, int64_t count, int64_t rows, int words,
                                 int* fault) {
  const int rows_at_once = words < kCopyThreads ? kCopyThreads / words : 1, step = words < kCopyThreads ? words : kCopyThreads;
  const int row = static_cast<int>(threadIdx.x) / step;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * rows_at_once + row;
  if (row >= rows_at_once || i >= count) return;
  const int32_t id = ids[i];
  const bool inside = id >= 0 && id < rows;
  for (int w = static_cast<int>(threadIdx.x) - row * step; w < words; w += step) {
    if (inside)
      y[i * words + w] = table[static_cast<int64_t>(id) * words + w];
    else
      y[i * words + w] = Word{};
  }
  if (!inside) atomicMax(fault, kEmbeddingIndex);
}

// For each id of a tile: how many of the tile's ids before it are the same (ranks), and for each row how often the tile holds
// it (counts (tiles, rows), zero before).
__global__ void __launch_bounds__(kTile)
    embedding_rank_kernel(int32_t* ranks, int32_t* counts, const int32_t* ids, int64_t count, int64_t rows, int* fault) {
  struct alignas(16) Ids {
    int32_t v[kTile];
  };
  STAR_SHARED(Ids, tile, );
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kTile + threadIdx.x;
  const int32_t id = i < count ? ids[i] : -1;
  tile.v[threadIdx.x] = id;
  __syncthreads();
  if (i >= count) return;
  if (id < 0 || id >= rows) {
    atomicMax(fault, kEmbeddingIndex);
    return;
  }
  int before = 0, all = 0;
  for (int j = 0; j < kTile; j += 4) {
    const Vector<int32_t, 4> four = load_vector<4>(&tile.v[j]);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int same = four.v[k] == id ? 1 : 0;
      all += same;
      before += j + k < static_cast<int>(threadIdx.x) ? same : 0;
    }
  }
  ranks[i] = before;
  if (before + 1 == all) counts[blockIdx.x * rows + id] = all;  // the last of them
}

// counts (tiles, rows) become the sums over the tiles before, `sizes` (rows) those over all tiles. One thread a row.
__global__ void embedding_tiles_kernel(int32_t* counts, int32_t* sizes, int64_t rows, int64_t tiles) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  int32_t sum = 0;
  for (int64_t t = 0; t < tiles; ++t) {
    const int32_t here = counts[t * rows + r];
    counts[t * rows + r] = sum;
    sum += here;
  }
  sizes[r] = sum;
}

// begins (rows + 1): Σ of the sizes before. One block.
__global__ void __launch_bounds__(kTile) embedding_begins_kernel(int32_t* begins, const int32_t* sizes, int64_t rows) {
  STAR_SHARED(int32_t, warps, [kTile / kWarp]);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  int32_t before = 0;
  for (int64_t first = 0; first < rows; first += kTile) {
    const int64_t r = first + threadIdx.x;
    const int32_t size = r < rows ? sizes[r] : 0;
    int32_t sum = size;
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const int32_t other = __shfl_up_sync(kFullWarp, sum, step);
      if (lane >= step) sum += other;
    }
    if (lane == kWarp - 1) warps[warp] = sum;
    __syncthreads();
    int32_t all = 0;
    for (int w = 0; w < kTile / kWarp; ++w) {
      if (w == warp) sum += all;
      all += warps[w];
    }
    if (r < rows) begins[r] = before + sum - size;
    before += all;
    __syncthreads();
  }
  if (threadIdx.x == 0) begins[rows] = before;
}

// positions (count): the i with ids[i] = 0 in rising order, then those with 1, …
__global__ void embedding_place_kernel(int32_t* positions, const int32_t* ids, const int32_t* ranks, const int32_t* counts,
                                       const int32_t* begins, int64_t count, int64_t rows) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int32_t id = ids[i];
  if (id >= 0 && id < rows) positions[begins[id] + counts[i / kTile * rows + id] + ranks[i]] = static_cast<int32_t>(i);
}

// One thread n elements of dtable (rows, cols).
template <class T, int n>
__global__ void embedding_sum_kernel(T* dtable, const T* dy, const int32_t* positions, const int32_t* begins, int64_t rows,
                                     int64_t cols) {
  const int64_t e = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * n;
  if (e >= rows * cols) return;
  const int64_t r = e / cols, c = e % cols;
  float sum[n] = {};
#pragma unroll 4
  for (int32_t p = begins[r]; p < begins[r + 1]; ++p) {
    const Vector<T, n> row = load_vector<n>(dy + positions[p] * cols + c);
#pragma unroll
    for (int k = 0; k < n; ++k) sum[k] += to_float(row.v[k]);
  }
  Vector<T, n> out;
#pragma unroll
  for (int k = 0; k < n; ++k) out.v[k] = from_float<T>(sum[k]);
  store_vector(dtable + e, out);
}

// ---------------------------------------------------------------------------------------------------------------------------

template <class Word>
void copy_rows(CudaBackend& backend, const EmbeddingArgs& a, size_t row_bytes) {
  const auto words = static_cast<int>(row_bytes / sizeof(Word));
  const LaunchShape shape{dim3(blocks_for(a.count, words < kCopyThreads ? kCopyThreads / words : 1)), dim3(kCopyThreads)};
  launch("embedding", embedding_kernel<Word>, shape, backend.stream(), static_cast<Word*>(a.y.data),
         static_cast<const Word*>(a.table.data), a.ids.i32(), a.count, a.rows, words, backend.fault());
}

}  // namespace

void CudaBackend::embedding(const EmbeddingArgs& a) {
  if (a.y.dtype != a.table.dtype)
    fail(ErrorCode::DType, "embedding: y is %s, expected %s like the table", dtype_name(a.y.dtype), dtype_name(a.table.dtype));
  const size_t row_bytes = static_cast<size_t>(a.cols) * dtype_size(a.table.dtype);
  if (a.count == 0 || row_bytes == 0) return;
  if (row_bytes % 16 == 0 && aligned(a.y.data, a.table.data))
    copy_rows<uint4>(*this, a, row_bytes);
  else if (row_bytes % 4 == 0)
    copy_rows<uint32_t>(*this, a, row_bytes);
  else if (row_bytes % 2 == 0)
    copy_rows<uint16_t>(*this, a, row_bytes);
  else
    copy_rows<uint8_t>(*this, a, row_bytes);
}

void CudaBackend::embedding_backward(const EmbeddingBackwardArgs& a) {
  const char* op = "embedding_backward";
  const int32_t* ids = a.ids.i32();
  const int64_t tiles = (a.count + kTile - 1) / kTile;
  const auto counters = static_cast<size_t>(tiles * a.rows);
  Scratch scratch(*this, (counters + static_cast<size_t>(2 * a.rows + 1 + 2 * a.count)) * sizeof(int32_t));
  auto* counts = scratch.as<int32_t>();
  int32_t *sizes = counts + counters, *begins = sizes + a.rows, *ranks = begins + a.rows + 1, *positions = ranks + a.count;
  if (counters > 0) check_cuda(cudaMemsetAsync(counts, 0, counters * sizeof(int32_t), stream()), op);
  launch(op, embedding_rank_kernel, {dim3(blocks_for(a.count, kTile)), dim3(kTile)}, stream(), ranks, counts, ids, a.count,
         a.rows, fault());
  launch(op, embedding_tiles_kernel, elementwise_shape(a.rows, 1), stream(), counts, sizes, a.rows, tiles);
  launch(op, embedding_begins_kernel, {dim3(1), dim3(kTile)}, stream(), begins, sizes, a.rows);
  launch(op, embedding_place_kernel, elementwise_shape(a.count, 1), stream(), positions, ids, ranks, counts, begins, a.count,
         a.rows);
  dispatch_float(a.dy.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    T* dtable = as<T>(a.dtable, op);
    const T* dy = as<T>(a.dy, op);
    with_vectors<T>(a.cols % kVector<T> == 0 && aligned(dtable, dy), [&](auto n) {
      launch(op, embedding_sum_kernel<T, n>, elementwise_shape(a.rows * a.cols, n), stream(), dtable, dy, positions, begins,
             a.rows, a.cols);
    });
  });
}

}  // namespace star
