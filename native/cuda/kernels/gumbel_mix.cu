// The soft Gumbel mix of codebook rows. Weights never leave the chip: a block takes some rows and a part of the vocabulary,
// makes the weights of a tile, multiplies them with the codebook's tile and rescales what it has when a row's maximum grows (as
// the online softmax of Milakov and Gimelshein, 2018); a second kernel joins the parts.
#include "cuda/cuda_backend.h"
#include "cuda/device/token_filter.cuh"
#include "cuda/dispatch.h"
#include "cuda/token_filter.h"

namespace star {

namespace {

constexpr int kRows = 32, kCols = 32;  // of the mix that a block makes
constexpr int kTokens = 64;            // of a tile
constexpr int kPart = 512;             // tokens of a part; fixed, so that the order of additions depends on the shape alone
constexpr int kThreads = 128;
constexpr int kRowsOfWarp = kRows / (kThreads / kWarp);

template <class T, bool staged, int n>
__global__ void __launch_bounds__(kSelectThreads)
    gumbel_filter_kernel(TokenCut* cuts, const T* logits, TokenFilter filter, int* fault) {
  SelectSpace* space;
  float top;
  const int64_t r = blockIdx.x;
  const LogitRow<T, staged> row = open_row<T, staged, n>(space, logits + r * filter.vocab, filter.vocab, top);
  if (!finite(top)) {
    if (threadIdx.x == 0) {
      atomicMax(fault, kDrawLogits);
      cuts[r] = {0, 0};
    }
    return;
  }
  const TokenCut cut = filter_tokens(*space, row, filter, top);
  if (threadIdx.x == 0) cuts[r] = cut;
}

struct MixSizes {
  int64_t rows, vocab, cols, parts;
  float factor, temperature;
};

// What one part of the vocabulary gives to a row: largest w, Σ e^(w − largest), and Σ e^(w − largest)·codebook.
struct Parts {
  float* top;    // (parts, rows)
  float* total;  // (parts, rows)
  float* mix;    // (parts, rows, cols)
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    gumbel_part_kernel(Parts parts, const T* logits, const float* noise, const T* codebook, const TokenCut* cuts, MixSizes s) {
  struct alignas(16) Weights {
    float v[kRows][kTokens + 4];  // 4 more: rows lie in different banks
  };
  struct alignas(16) Codes {
    float v[kTokens][kCols];
  };
  STAR_SHARED(Weights, weights, );
  STAR_SHARED(Codes, codes, );
  STAR_SHARED(float, scales, [kRows]);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t col_tiles = (s.cols + kCols - 1) / kCols, pair = blockIdx.x / col_tiles;
  const int64_t first_row = pair / s.parts * kRows, part = pair % s.parts, first_col = blockIdx.x % col_tiles * kCols;
  const int64_t end = part * kPart + kPart < s.vocab ? part * kPart + kPart : s.vocab;

  // The warp's rows of weights; `total` is of the lane's tokens only until the end.
  float top[kRowsOfWarp], total[kRowsOfWarp];
#pragma unroll
  for (int i = 0; i < kRowsOfWarp; ++i) {
    top[i] = -INFINITY;
    total[i] = 0.0f;
  }
  // The thread's 4 rows and 2 columns of the product.
  const int row4 = static_cast<int>(threadIdx.x) / (kCols / 2) * 4, col2 = static_cast<int>(threadIdx.x) % (kCols / 2) * 2;
  float sum[4][2] = {};

  for (int64_t begin = part * kPart; begin < end; begin += kTokens) {
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
      const int row = warp * kRowsOfWarp + i;
      const int64_t r = first_row + row;
      float w[kTokens / kWarp], largest = top[i];
#pragma unroll
      for (int j = 0; j < kTokens / kWarp; ++j) {
        const int64_t v = begin + j * kWarp + lane;
        w[j] = -INFINITY;
        if (r < s.rows && v < end) {
          const float z = to_float(logits[r * s.vocab + v]);
          if (!cuts || cuts[r].keeps(z, v)) w[j] = (z * s.factor + noise[r * s.vocab + v]) / s.temperature;
        }
        largest = w[j] == w[j] ? fmaxf(largest, w[j]) : INFINITY;  // makes the row's sum NaN
      }
      largest = warp_max(largest);
      const float scale = top[i] == largest ? 1.0f : expf(top[i] - largest);  // also when both are −∞
      top[i] = largest;
      total[i] *= scale;
      if (lane == 0) scales[row] = scale;
#pragma unroll
      for (int j = 0; j < kTokens / kWarp; ++j) {
        const float e = w[j] == -INFINITY ? 0.0f : expf(w[j] - largest);
        total[i] += e;
        weights.v[row][j * kWarp + lane] = e;
      }
    }
    for (int i = threadIdx.x; i < kTokens * kCols; i += kThreads) {
      const int64_t v = begin + i / kCols, c = first_col + i % kCols;
      codes.v[i / kCols][i % kCols] = v < end && c < s.cols ? to_float(codebook[v * s.cols + c]) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float scale = scales[row4 + i];
      sum[i][0] *= scale;
      sum[i][1] *= scale;
    }
    for (int v = 0; v < kTokens; v += 4) {
      Vector<float, 4> w[4];
      Vector<float, 2> code[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        w[i] = load_vector<4>(&weights.v[row4 + i][v]);
        code[i] = load_vector<2>(&codes.v[v + i][col2]);
      }
#pragma unroll
      for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sum[i][0] = fmaf(w[i].v[k], code[k].v[0], sum[i][0]);
          sum[i][1] = fmaf(w[i].v[k], code[k].v[1], sum[i][1]);
        }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kRowsOfWarp; ++i) {
    const int64_t r = first_row + warp * kRowsOfWarp + i;
    total[i] = warp_sum(total[i]);
    if (lane == 0 && r < s.rows && first_col == 0) {
      parts.top[part * s.rows + r] = top[i];
      parts.total[part * s.rows + r] = total[i];
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int64_t r = first_row + row4 + i, c = first_col + col2 + j;
      if (r < s.rows && c < s.cols) parts.mix[(part * s.rows + r) * s.cols + c] = sum[i][j];
    }
}

// One thread an element of y (rows, cols).
template <class T>
__global__ void gumbel_join_kernel(T* y, Parts parts, MixSizes s, int* fault) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= s.rows * s.cols) return;
  const int64_t r = i / s.cols;
  float top = -INFINITY, total = 0.0f, sum = 0.0f;
  for (int64_t p = 0; p < s.parts; ++p) top = fmaxf(top, parts.top[p * s.rows + r]);
  for (int64_t p = 0; p < s.parts; ++p) {
    const float part_top = parts.top[p * s.rows + r], scale = part_top == -INFINITY ? 0.0f : expf(part_top - top);
    total = fmaf(scale, parts.total[p * s.rows + r], total);
    sum = fmaf(scale, parts.mix[p * s.rows * s.cols + i], sum);
  }
  if (!(total > 0.0f)) {  // NaN too
    atomicMax(fault, kDrawLogits);
    y[i] = from_float<T>(0.0f);
  } else {
    y[i] = from_float<T>(sum / total);
  }
}

// ---------------------------------------------------------------------------------------------------------------------------

}  // namespace

void CudaBackend::gumbel_mix(const GumbelMixArgs& a) {
  const bool filtered = (a.top_k > 0 && a.top_k < a.vocab) || (a.top_p > 0.0f && a.top_p < 1.0f);
  const int64_t parts = (a.vocab + kPart - 1) / kPart;
  const MixSizes sizes{a.rows, a.vocab, a.cols, parts, a.factor, a.temperature};
  const auto pairs = static_cast<size_t>(parts * a.rows);
  Scratch cuts(*this, filtered ? static_cast<size_t>(a.rows) * sizeof(TokenCut) : 0);
  Scratch scratch(*this, pairs * static_cast<size_t>(a.cols + 2) * sizeof(float));
  float* floats = scratch.as<float>();
  const Parts partial{floats, floats + pairs, floats + 2 * pairs};
  const float* noise = a.noise.f32();
  dispatch_float(a.logits.dtype, "gumbel_mix", [&](auto tag) {
    using T = decltype(tag);
    const T* logits = as<T>(a.logits, "gumbel_mix");
    const T* codebook = as<T>(a.codebook, "gumbel_mix");
    T* y = as<T>(a.y, "gumbel_mix");
    if (filtered)
      with_row<T>(logits, a.vocab, [&](auto staged, auto n) {
        launch("gumbel_mix", gumbel_filter_kernel<T, staged, n>, filter_shape<staged>(a.rows, a.vocab), stream(),
               cuts.as<TokenCut>(), logits, token_filter(a.vocab, a.top_k, a.top_p), fault());
      });
    const int64_t row_tiles = (a.rows + kRows - 1) / kRows, col_tiles = (a.cols + kCols - 1) / kCols;
    const LaunchShape shape{dim3(blocks_for(row_tiles * parts * col_tiles, 1)), dim3(kThreads)};
    launch("gumbel_mix", gumbel_part_kernel<T>, shape, stream(), partial, logits, noise, codebook,
           filtered ? cuts.as<TokenCut>() : nullptr, sizes);
    launch("gumbel_mix", gumbel_join_kernel<T>, elementwise_shape(a.rows * a.cols, 1), stream(), y, partial, sizes, fault());
  });
}

}  // namespace star
