// The nearest codebook row of each vector: a register-tiled matrix product whose tiles are reduced to running minima at once.
// Products and sums run in the order of the columns with one rounding each (fmaf), as on the CPU.
#include <algorithm>

#include "cuda/cuda_backend.h"
#include "cuda/device/element.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/dispatch.h"
#include "cuda/elementwise.h"

namespace star {

namespace {

constexpr int kSide = 128;     // vectors x, and codebook rows, of a tile
constexpr int kDepth = 32;     // columns of a tile
constexpr int kThreads = 256;  // each compares 8 vectors with 8 codebook rows
constexpr int kThreadsAcross = 16;

// Column-major, so that a thread reads the same column of neighbouring rows at once. 4 more rows: a warp that writes 8 columns
// of 4 rows meets every bank once.
struct alignas(16) Tile {
  float v[kDepth][kSide + 4];
};

// Columns [column, column + kDepth) of the first `rows` rows of a matrix, with zeros outside of it (rows, cols).
template <class T>
__device__ __forceinline__ void load_tile(Tile& tile, const T* matrix, int rows, int column, int cols) {
  const int row = static_cast<int>(threadIdx.x) / kWarp * 4 + static_cast<int>(threadIdx.x) % kWarp / 8, k = threadIdx.x % 8;
  const T* from = matrix + static_cast<int64_t>(row) * cols + column + k;
#pragma unroll
  for (int r = 0; r < kSide; r += kThreads / 8) {
    const bool inside = r + row < rows;
#pragma unroll
    for (int c = 0; c < kDepth; c += 8) tile.v[c + k][r + row] = inside && column + c + k < cols ? to_float(from[c]) : 0.0f;
    from += static_cast<int64_t>(kThreads / 8) * cols;
  }
}

// Vectors [128·blockIdx.x, …) against `tiles` tiles of the codebook from 128·tiles·blockIdx.y on. Results are of part blockIdx.y.
template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    nearest_kernel(int32_t* ids, float* distances, const T* x, const T* codebook, int64_t rows, int cols, int vocab, int tiles) {
  STAR_SHARED(Tile, vectors, );
  STAR_SHARED(Tile, codes, );
  STAR_SHARED(float, norms, [kThreads]);  // of the codes, then of the vectors: a thread each
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kSide;
  const int rows_here = rows - first_row < kSide ? static_cast<int>(rows - first_row) : kSide;
  // The thread's rows of both tiles: 4 from `row` and 4 from 64 + `row`.
  const int row = static_cast<int>(threadIdx.x) / kThreadsAcross * 4, code = static_cast<int>(threadIdx.x) % kThreadsAcross * 4;
  static_assert(kThreads == 2 * kSide);
  const Tile& normed = threadIdx.x < kSide ? codes : vectors;
  // Ids lie in shared memory, each thread's own: they are rarely written, and registers are short.
  STAR_SHARED(int32_t, best_ids, [8][kThreads]);
  float best[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    best[i] = INFINITY;
    best_ids[i][threadIdx.x] = 0;
  }

  for (int tile = 0; tile < tiles; ++tile) {
    const int first_code = (static_cast<int>(blockIdx.y) * tiles + tile) * kSide;
    if (first_code >= vocab) break;
    float dot[8][8] = {};
    int column = 0;
    do {
      __syncthreads();  // the tiles and norms before have been read
      if (tile == 0 || cols > kDepth) load_tile(vectors, x + first_row * cols, rows_here, column, cols);
      load_tile(codes, codebook + static_cast<int64_t>(first_code) * cols, vocab - first_code, column, cols);
      __syncthreads();
      float norm = column == 0 ? 0.0f : norms[threadIdx.x];
#pragma unroll 8
      for (int k = 0; k < kDepth; ++k) {
        const float value = normed.v[k][threadIdx.x % kSide];
        norm = fmaf(value, value, norm);
      }
      norms[threadIdx.x] = norm;
#pragma unroll 2  // more unrolling would spill registers
      for (int k = 0; k < kDepth; ++k) {
        float a[8], b[8];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const Vector<float, 4> a4 = load_vector<4>(&vectors.v[k][64 * half + row]);
          const Vector<float, 4> b4 = load_vector<4>(&codes.v[k][64 * half + code]);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            a[4 * half + i] = a4.v[i];
            b[4 * half + i] = b4.v[i];
          }
        }
#pragma unroll
        for (int i = 0; i < 8; ++i)
#pragma unroll
          for (int j = 0; j < 8; ++j) dot[i][j] = fmaf(a[i], b[j], dot[i][j]);
      }
      column += kDepth;
    } while (column < cols);
    __syncthreads();
#pragma unroll
    for (int j = 0; j < 8; ++j) {  // codes rise: a tie keeps the lowest
      const int c = j / 4 * 64 + code + j % 4;
      const float code_norm = first_code + c < vocab ? norms[c] : INFINITY;  // a row that is none is never nearest
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float distance = fmaf(-2.0f, dot[i][j], norms[kSide + i / 4 * 64 + row + i % 4] + code_norm);
        if (distance < best[i]) {
          best[i] = distance;
          best_ids[i][threadIdx.x] = first_code + c;
        }
      }
    }
  }

#pragma unroll
  for (int i = 0; i < 8; ++i) {
    int32_t id = best_ids[i][threadIdx.x];
#pragma unroll
    for (int step = kThreadsAcross / 2; step > 0; step /= 2) {
      const float other = __shfl_xor_sync(kFullWarp, best[i], step);
      const int32_t other_id = __shfl_xor_sync(kFullWarp, id, step);
      if (other < best[i] || (other == best[i] && other_id < id)) {
        best[i] = other;
        id = other_id;
      }
    }
    const int r = i / 4 * 64 + row + i % 4;
    if (code == 0 && r < rows_here) {
      const int64_t place = blockIdx.y * rows + first_row + r;
      ids[place] = id;
      if (distances) distances[place] = best[i];
    }
  }
}

// The nearest of the parts' nearest, the first on a tie: its codes are the lowest.
__global__ void nearest_join_kernel(int32_t* ids, float* distance, const int32_t* part_ids, const float* part_distances,
                                    int64_t rows, int64_t parts) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  float best = part_distances[r];
  int32_t id = part_ids[r];
  for (int64_t p = 1; p < parts; ++p) {
    const float other = part_distances[p * rows + r];
    if (other < best) {
      best = other;
      id = part_ids[p * rows + r];
    }
  }
  ids[r] = id;
  if (distance) distance[r] = best;
}

// ---------------------------------------------------------------------------------------------------------------------------

}  // namespace

void CudaBackend::nearest_row(const NearestRowArgs& a) {
  int32_t* ids = a.ids.i32();
  float* distance = a.distance ? a.distance.f32() : nullptr;
  // Few vectors leave multiprocessors idle: then the codebook is split too. How does not show in the results.
  const int64_t row_blocks = blocks_for(a.rows, kSide), code_tiles = blocks_for(a.vocab, kSide);
  const int64_t wanted =
      std::clamp<int64_t>(2 * properties().multiProcessorCount / std::max<int64_t>(1, row_blocks), 1, code_tiles);
  const int64_t tiles = (code_tiles + wanted - 1) / wanted;
  const int64_t parts = (code_tiles + tiles - 1) / tiles, pairs = parts > 1 ? parts * a.rows : 0;
  Scratch scratch(*this, static_cast<size_t>(pairs) * (sizeof(float) + sizeof(int32_t)));
  float* part_distances = scratch.as<float>();
  auto* part_ids = reinterpret_cast<int32_t*>(part_distances + pairs);
  dispatch_float(a.x.dtype, "nearest_row", [&](auto tag) {
    using T = decltype(tag);
    const T* x = as<T>(a.x, "nearest_row");
    const T* codebook = as<T>(a.codebook, "nearest_row");
    const LaunchShape shape{dim3(blocks_for(a.rows, kSide), static_cast<unsigned>(parts)), dim3(kThreads)};
    launch("nearest_row", nearest_kernel<T>, shape, stream(), parts > 1 ? part_ids : ids, parts > 1 ? part_distances : distance,
           x, codebook, a.rows, static_cast<int>(a.cols), static_cast<int>(a.vocab), static_cast<int>(tiles));
  });
  if (parts > 1)
    launch("nearest_row", nearest_join_kernel, elementwise_shape(a.rows, 1), stream(), ids, distance, part_ids, part_distances,
           a.rows, parts);
}

}  // namespace star
