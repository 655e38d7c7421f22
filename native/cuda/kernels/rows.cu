// Rows of a sample by position: how far they are from a point (one warp a row), which ones (one block a row of scores, nothing
// sorted), taken out, and put back.
#include "cuda/cuda_backend.h"
#include "cuda/device/element.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/device/select.cuh"
#include "cuda/dispatch.h"
#include "cuda/elementwise.h"
#include "cuda/launch.h"

namespace star {

namespace {

constexpr int kCopyThreads = 256;

template <class T>
__global__ void __launch_bounds__(kCopyThreads)
    row_distances_kernel(float* y, const T* x, const T* center, int64_t rows, int64_t length, int64_t cols) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kCopyThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= rows) return;  // the whole warp
  x += row * cols;
  center += row / length * cols;
  float sum = 0.0f;
  for (int64_t c = threadIdx.x % kWarp; c < cols; c += kWarp) {
    const float difference = to_float(x[c]) - to_float(center[c]);
    sum += difference * difference;
  }
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) y[row] = sum;
}

// Keys in the order of falling scores; equal scores have equal keys. Not a number counts as −∞.
__device__ __forceinline__ uint32_t falling_score(float score) {
  const float x = score == score ? score + 0.0f : -INFINITY;  // −0 becomes 0
  const uint32_t bits = __float_as_uint(x);
  return ~(bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u));
}

__global__ void __launch_bounds__(kSelectThreads)
    top_positions_kernel(int32_t* positions, const float* score, int64_t length, int64_t keep) {
  STAR_SHARED(SelectSpace, space, );
  score += static_cast<int64_t>(blockIdx.x) * length;
  positions += static_cast<int64_t>(blockIdx.x) * keep;
  const auto one = [](int64_t) { return uint64_t{1}; };
  const auto key_of = [&](int64_t i) { return falling_score(score[i]); };
  const uint64_t wanted = static_cast<uint64_t>(keep);
  const Selected border = select(space, length, 32, key_of, one, wanted - 1);
  const auto equal = [&](int64_t i) { return static_cast<uint64_t>(key_of(i) == border.key); };
  // Of those with the border's score the first ones are chosen, up to position `last`.
  const uint32_t last =
      select(
          space, length, 32, [](int64_t i) { return static_cast<uint32_t>(i); }, equal, wanted - 1 - border.below)
          .key;
  uint64_t before = 0;
  for (int64_t first = 0; first < length; first += kSelectThreads) {
    const int64_t i = first + threadIdx.x;
    const uint32_t key = i < length ? key_of(i) : 0;
    const bool chosen = i < length && (key < border.key || (key == border.key && static_cast<uint64_t>(i) <= last));
    uint64_t all;
    const uint64_t at = before + block_sum_before(space, chosen ? 1 : 0, all);
    if (chosen) positions[at] = static_cast<int32_t>(i);
    before += all;
  }
}

// Row i of the chosen ones and row positions[i] of its sample, copied from the sample or, with `scatter`, to it; a row has
// `words` words. A block copies kCopyThreads / words rows, or one row when it is longer.
template <class Word, bool scatter>
__global__ void copy_rows_kernel(Word* y, const Word* x, const int32_t* positions, int64_t rows, int64_t length, int64_t count,
                                 int words, int* fault) {
  const int rows_at_once = words < kCopyThreads ? kCopyThreads / words : 1, step = words < kCopyThreads ? words : kCopyThreads;
  const int row = static_cast<int>(threadIdx.x) / step;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * rows_at_once + row;
  if (row >= rows_at_once || i >= rows) return;
  const int32_t position = positions[i];
  if (position < 0 || position >= length) {
    atomicMax(fault, kRowPosition);
    return;
  }
  const int64_t part = i * words, whole = (i / count * length + position) * words;
  const Word* from = x + (scatter ? part : whole);
  Word* to = y + (scatter ? whole : part);
  for (int w = static_cast<int>(threadIdx.x) - row * step; w < words; w += step) to[w] = from[w];
}

// ---------------------------------------------------------------------------------------------------------------------------

template <bool scatter, class Args>
void copy_rows(CudaBackend& backend, const char* op, const Args& a) {
  const int64_t rows = a.batch * a.count;
  const size_t bytes = static_cast<size_t>(a.cols) * dtype_size(a.x.dtype);
  if (rows == 0 || bytes == 0) return;
  const auto run = [&](auto word) {
    using Word = decltype(word);
    const auto words = static_cast<int>(bytes / sizeof(Word));
    const LaunchShape shape{dim3(blocks_for(rows, words < kCopyThreads ? kCopyThreads / words : 1)), dim3(kCopyThreads)};
    launch(op, copy_rows_kernel<Word, scatter>, shape, backend.stream(), static_cast<Word*>(a.y.data),
           static_cast<const Word*>(a.x.data), a.positions.i32(), rows, a.length, a.count, words, backend.fault());
  };
  if (bytes % 16 == 0 && aligned(a.y.data, a.x.data))
    run(uint4{});
  else if (bytes % 4 == 0)
    run(uint32_t{});
  else if (bytes % 2 == 0)
    run(uint16_t{});
  else
    run(uint8_t{});
}

}  // namespace

void CudaBackend::row_distances(const RowDistancesArgs& a) {
  const char* op = "row_distances";
  const int64_t rows = a.batch * a.length;
  if (rows == 0) return;
  dispatch_float(a.x.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    launch(op, row_distances_kernel<T>, {dim3(blocks_for(rows, kCopyThreads / kWarp)), dim3(kCopyThreads)}, stream(), a.y.f32(),
           as<T>(a.x, op), as<T>(a.center, op), rows, a.length, a.cols);
  });
}

void CudaBackend::top_positions(const TopPositionsArgs& a) {
  if (a.rows == 0 || a.keep == 0) return;
  launch("top_positions", top_positions_kernel, {dim3(blocks_for(a.rows, 1)), dim3(kSelectThreads)}, stream(), a.positions.i32(),
         a.score.f32(), a.length, a.keep);
}

void CudaBackend::gather_rows(const GatherRowsArgs& a) { copy_rows<false>(*this, "gather_rows", a); }

void CudaBackend::scatter_rows(const ScatterRowsArgs& a) { copy_rows<true>(*this, "scatter_rows", a); }

}  // namespace star
