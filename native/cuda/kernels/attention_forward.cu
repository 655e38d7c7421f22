// Attention, forward, 16-bit elements and 64 channels a head: flash attention on tensor cores (Dao et al. 2022; the split over
// warps by queries of Dao 2023). Other cases go to attention_plain.cu.
#include "cuda/cuda_backend.h"
#include "cuda/device/attention_mask.cuh"
#include "cuda/device/attention_tile.cuh"
#include "cuda/dispatch.h"
#include "cuda/kernels/attention.h"
#include "cuda/launch.h"

namespace star {

namespace {

constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

// Where the two rows g and g + 8 of a block of 16 queries stand in the online softmax. Sums are of this thread's columns only.
struct Softmax {
  float top[2], sum[2];
};

// Turns raw scores into 2^(factor·(score − top)), given that factor > 0, and brings older sums and outputs to the new tops.
__device__ __forceinline__ void soften(float (&s)[kTileRows / 8][4], float (&o)[kTileDim / 8][4], Softmax& state, float factor) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float top = state.top[half];
#pragma unroll
    for (int n = 0; n < kTileRows / 8; ++n) top = fmaxf(top, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 1));
    top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 2));
    const float shift = top == -INFINITY ? 0.0f : top * factor;  // nothing seen yet: any finite shift leaves zeros
    const float correction = exp2_approx(state.top[half] * factor - shift);
    float sum = state.sum[half] * correction;
#pragma unroll
    for (int n = 0; n < kTileRows / 8; ++n)
#pragma unroll
      for (int e = 2 * half; e < 2 * half + 2; ++e) {
        s[n][e] = exp2_approx(fmaf(s[n][e], factor, -shift));
        sum += s[n][e];
      }
#pragma unroll
    for (int n = 0; n < kTileDim / 8; ++n) {
      o[n][2 * half] *= correction;
      o[n][2 * half + 1] *= correction;
    }
    state.top[half] = top;
    state.sum[half] = sum;
  }
}

// A block has 64·kBlocks queries of one head, a warp 16·kBlocks of them.
template <class T, int kBlocks>
__global__ void __launch_bounds__(kTileThreads, kBlocks == 1 ? 3 : 2)
    attention_forward_kernel(T* out, float* lse, const T* q, const T* k, const T* v, const uint8_t* key_mask,
                             const int* key_limit, AttentionShape shape) {
  constexpr int kQueries = 64 * kBlocks;
  T* const q_tile = dynamic_shared<T>();
  T* const k_tiles = q_tile + kQueries * kTileDim;  // two of each
  T* const v_tiles = k_tiles + 2 * kTileElements;

  // Neighbours take tiles of the same head, whose keys then stay in the L2 cache; the last queries, who see most, come first.
  const int q_tiles = (shape.lq + kQueries - 1) / kQueries;
  const int head = blockIdx.x / q_tiles % shape.heads, b = blockIdx.x / q_tiles / shape.heads;
  const int first = (q_tiles - 1 - static_cast<int>(blockIdx.x) % q_tiles) * kQueries;
  const int64_t stride = static_cast<int64_t>(shape.heads) * kTileDim;
  q += b * shape.lq * stride + head * kTileDim;
  k += b * shape.kv_capacity * stride + head * kTileDim;
  v += b * shape.kv_capacity * stride + head * kTileDim;
  if (key_mask) key_mask += static_cast<int64_t>(b) * shape.lk;

  const int lane = threadIdx.x % kWarp, row = threadIdx.x / kWarp * 16 * kBlocks;  // the warp's first row in the tile
  const TileLimits seen = tile_limits<kQueries, 16 * kBlocks>(key_limit, first, row, shape.lq, shape.lk);
  int limits[kBlocks][2];
#pragma unroll
  for (int m = 0; m < kBlocks; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half)
      limits[m][half] = limit_of(key_limit, min(first + row + 16 * m + 8 * half + lane / 4, shape.lq - 1), shape.lk);

  load_tile<kQueries>(q_tile, q, stride, first, shape.lq);
  if (seen.block > 0) {
    load_tile<kTileRows>(k_tiles, k, stride, 0, shape.lk);
    load_tile<kTileRows>(v_tiles, v, stride, 0, shape.lk);
  }
  KeyBytes next_bytes = load_key_bytes(key_mask, 0, shape.lk);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();

  uint32_t queries[kBlocks][kTileDim / 16][4];
  float o[kBlocks][kTileDim / 8][4] = {};
  Softmax state[kBlocks];
#pragma unroll
  for (int m = 0; m < kBlocks; ++m) {
    state[m] = {{-INFINITY, -INFINITY}, {0.0f, 0.0f}};
#pragma unroll
    for (int step = 0; step < kTileDim / 16; ++step) load_a(queries[m][step], q_tile, row + 16 * m, step);
  }

  const float factor = shape.scale * kLog2e;
  for (int key = 0, stage = 0; key < seen.block; key += kTileRows, stage ^= 1) {
    const T* k_tile = k_tiles + stage * kTileElements;
    const T* v_tile = v_tiles + stage * kTileElements;
    const KeyBytes bytes = next_bytes;
    if (key + kTileRows < seen.block) {
      load_tile<kTileRows>(k_tiles + (stage ^ 1) * kTileElements, k, stride, key + kTileRows, shape.lk);
      load_tile<kTileRows>(v_tiles + (stage ^ 1) * kTileElements, v, stride, key + kTileRows, shape.lk);
      next_bytes = load_key_bytes(key_mask, key + kTileRows, shape.lk);
    }
    cp_async_commit();
    const uint64_t visible = visible_keys(bytes);
    if (key < seen.warp && visible != 0) {
      float s[kBlocks][kTileRows / 8][4] = {};
#pragma unroll
      for (int step = 0; step < kTileDim / 16; ++step)
#pragma unroll
        for (int n = 0; n < kTileRows / 16; ++n) {
          uint32_t keys[4];
          load_b_transposed(keys, k_tile, 16 * n, step);
#pragma unroll
          for (int m = 0; m < kBlocks; ++m) multiply_add<T>(s[m][2 * n], s[m][2 * n + 1], queries[m][step], keys);
        }
      if (seen.least < key + kTileRows || visible != ~uint64_t{0}) {
#pragma unroll
        for (int m = 0; m < kBlocks; ++m) mask_scores(s[m], visible, limits[m][0] - key, limits[m][1] - key);
      }
#pragma unroll
      for (int m = 0; m < kBlocks; ++m) soften(s[m], o[m], state[m], factor);
#pragma unroll
      for (int n = 0; n < kTileRows / 16; ++n) {
        uint32_t probabilities[kBlocks][4];
#pragma unroll
        for (int m = 0; m < kBlocks; ++m) as_a<T>(probabilities[m], s[m][2 * n], s[m][2 * n + 1]);
#pragma unroll
        for (int step = 0; step < kTileDim / 16; ++step) {
          uint32_t values[4];
          load_b(values, v_tile, 16 * n, step);
#pragma unroll
          for (int m = 0; m < kBlocks; ++m) multiply_add<T>(o[m][2 * step], o[m][2 * step + 1], probabilities[m], values);
        }
      }
    }
    cp_async_wait<0>();
    __syncthreads();
  }

  // The rows of this warp in the tile of queries are read by nobody any more: they take the result on its way to 16-byte stores.
#pragma unroll
  for (int m = 0; m < kBlocks; ++m) {
    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = state[m].sum[half];
      sum += __shfl_xor_sync(kFullWarp, sum, 1);
      sum += __shfl_xor_sync(kFullWarp, sum, 2);
      inverse[half] = sum > 0.0f ? 1.0f / sum : sum;  // a sum that is not a number stays one
      const int query = first + row + 16 * m + 8 * half + lane / 4;
      if (lse && lane % 4 == 0 && query < shape.lq)
        lse[(static_cast<int64_t>(b) * shape.heads + head) * shape.lq + query] =
            kLn2 * (state[m].top[half] * factor + log2f(sum));
    }
    accumulators_to_tile(q_tile, row + 16 * m, o[m], inverse[0], inverse[1]);
  }
  __syncwarp();
  store_rows<kBlocks>(out + b * shape.lq * stride + head * kTileDim, stride, first + row, shape.lq, q_tile, row);
}

// ---------------------------------------------------------------------------------------------------------------------------------

template <class T, int kBlocks>
void launch_forward(CudaBackend& backend, const AttentionArgs& a, const AttentionShape& shape) {
  constexpr int kQueries = 64 * kBlocks;
  const LaunchShape launch_shape{blocks_for(a.batch * a.heads * blocks_for(a.lq, kQueries), 1), kTileThreads,
                                 (kQueries * kTileDim + 4 * kTileElements) * sizeof(T)};
  launch("attention", attention_forward_kernel<T, kBlocks>, launch_shape, backend.stream(), as<T>(a.out, "attention"),
         a.lse.f32(), as<T>(a.q, "attention"), as<T>(a.k, "attention"), as<T>(a.v, "attention"),
         a.key_mask ? a.key_mask.u8() : nullptr, a.key_limit ? a.key_limit.i32() : nullptr, shape);
}

}  // namespace

void CudaBackend::attention(const AttentionArgs& a) {
  const AttentionShape shape = attention_shape(a, a.kv_capacity, "attention");
  if (!attention_on_tensor_cores(shape, a.q.dtype, {a.out.data, a.q.data, a.k.data, a.v.data}))
    return attention_plain(*this, a, shape);
  const bool large = attention_large_tiles(a.batch, a.heads, a.lq);
  const auto run = [&](auto tag) {
    using T = decltype(tag);
    large ? launch_forward<T, 2>(*this, a, shape) : launch_forward<T, 1>(*this, a, shape);
  };
  a.q.dtype == DType::F16 ? run(f16{}) : run(bf16{});
}

}  // namespace star
