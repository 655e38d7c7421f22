// Attention, backward, 16-bit elements and 64 channels a head: probabilities are computed again from the saved log-sum-exp (Dao
// et al. 2022). One kernel goes over the keys and sums dq in registers, another goes over the queries and sums dk and dv: no sum
// crosses blocks, so no atomics and always the same bits. Other cases go to attention_plain.cu after the records are made.
#include "cuda/cuda_backend.h"
#include "cuda/device/attention_mask.cuh"
#include "cuda/device/attention_tile.cuh"
#include "cuda/dispatch.h"
#include "cuda/kernels/attention.h"
#include "cuda/launch.h"

namespace star {

namespace {

constexpr float kLog2e = 1.44269504f;

// records[b, h, i] = (lse·log₂e, Σ dout·out), (+∞, 0) for a query that sees no key and for those that fill up the last tile: an
// infinite sum makes all probabilities of a query 0. 8 lanes a query; kUnit elements at a time.
template <class T, int kUnit>
__global__ void __launch_bounds__(256) attention_records_kernel(float2* records, const T* dout, const T* out, const float* lse,
                                                                AttentionShape shape, int padded, int64_t count) {
  const int64_t item = (static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x) / 8;  // (batch, padded, heads)
  const int head = static_cast<int>(item % shape.heads), i = static_cast<int>(item / shape.heads % padded);
  const int64_t b = item / shape.heads / padded;
  const bool real = item < count && i < shape.lq;
  float delta = 0.0f;
  if (real) {
    const int64_t row = ((b * shape.lq + i) * shape.heads + head) * shape.head_dim;
    for (int c = threadIdx.x % 8 * kUnit; c < shape.head_dim; c += 8 * kUnit) {
      const auto x = load_vector<kUnit>(dout + row + c), y = load_vector<kUnit>(out + row + c);
#pragma unroll
      for (int e = 0; e < kUnit; ++e) delta = fmaf(to_float(x.v[e]), to_float(y.v[e]), delta);
    }
  }
#pragma unroll
  for (int step = 4; step > 0; step /= 2) delta += __shfl_xor_sync(kFullWarp, delta, step);
  if (item >= count || threadIdx.x % 8 != 0) return;
  const int64_t group = b * shape.heads + head;
  const float sum = real ? lse[group * shape.lq + i] : -INFINITY;
  records[group * padded + i] = make_float2(sum == -INFINITY ? INFINITY : sum * kLog2e, delta);
}

// dq. A block has 64·kBlocks queries of one head, a warp 16·kBlocks of them; scores exist for kKeys keys at a time.
template <class T, int kBlocks>
__global__ void __launch_bounds__(kTileThreads, kBlocks == 1 ? 3 : 2)
    attention_dq_kernel(T* dq, const T* dout, const float2* records, const T* q, const T* k, const T* v, const uint8_t* key_mask,
                        const int* key_limit, AttentionShape shape, int padded) {
  constexpr int kQueries = 64 * kBlocks, kKeys = 32 / kBlocks;
  T* const q_tile = dynamic_shared<T>();
  T* const dout_tile = q_tile + kQueries * kTileDim;
  T* const k_tiles = dout_tile + kQueries * kTileDim;  // two of each
  T* const v_tiles = k_tiles + 2 * kTileElements;

  const int q_tiles = (shape.lq + kQueries - 1) / kQueries;
  const int group = blockIdx.x / q_tiles, head = group % shape.heads, b = group / shape.heads;
  const int first = (q_tiles - 1 - static_cast<int>(blockIdx.x) % q_tiles) * kQueries;
  const int64_t stride = static_cast<int64_t>(shape.heads) * kTileDim;
  const int64_t q_head = b * shape.lq * stride + head * kTileDim;
  k += b * shape.lk * stride + head * kTileDim;
  v += b * shape.lk * stride + head * kTileDim;
  if (key_mask) key_mask += static_cast<int64_t>(b) * shape.lk;

  const int lane = threadIdx.x % kWarp, row = threadIdx.x / kWarp * 16 * kBlocks;
  const TileLimits seen = tile_limits<kQueries, 16 * kBlocks>(key_limit, first, row, shape.lq, shape.lk);

  load_tile<kQueries>(q_tile, q + q_head, stride, first, shape.lq);
  load_tile<kQueries>(dout_tile, dout + q_head, stride, first, shape.lq);
  if (seen.block > 0) {
    load_tile<kTileRows>(k_tiles, k, stride, 0, shape.lk);
    load_tile<kTileRows>(v_tiles, v, stride, 0, shape.lk);
  }
  KeyBytes next_bytes = load_key_bytes(key_mask, 0, shape.lk);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();

  uint32_t queries[kBlocks][kTileDim / 16][4], douts[kBlocks][kTileDim / 16][4];
  float2 record[kBlocks][2];
  int limits[kBlocks][2];
  float sum[kBlocks][kTileDim / 8][4] = {};
#pragma unroll
  for (int m = 0; m < kBlocks; ++m) {
#pragma unroll
    for (int step = 0; step < kTileDim / 16; ++step) {
      load_a(queries[m][step], q_tile, row + 16 * m, step);
      load_a(douts[m][step], dout_tile, row + 16 * m, step);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int query = min(first + row + 16 * m + 8 * half + lane / 4, padded - 1);  // rows behind the last are not stored
      record[m][half] = records[static_cast<int64_t>(group) * padded + query];
      limits[m][half] = limit_of(key_limit, min(query, shape.lq - 1), shape.lk);
    }
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
    const bool masked = seen.least < key + kTileRows || visible != ~uint64_t{0};
    if (key < seen.warp && visible != 0) {
#pragma unroll 1
      for (int part = 0; part < kTileRows; part += kKeys) {
        float s[kBlocks][kKeys / 8][4] = {}, dp[kBlocks][kKeys / 8][4] = {};
#pragma unroll
        for (int step = 0; step < kTileDim / 16; ++step)
#pragma unroll
          for (int n = 0; n < kKeys / 16; ++n) {
            uint32_t keys[4], values[4];
            load_b_transposed(keys, k_tile, part + 16 * n, step);
            load_b_transposed(values, v_tile, part + 16 * n, step);
#pragma unroll
            for (int m = 0; m < kBlocks; ++m) {
              multiply_add<T>(s[m][2 * n], s[m][2 * n + 1], queries[m][step], keys);
              multiply_add<T>(dp[m][2 * n], dp[m][2 * n + 1], douts[m][step], values);
            }
          }
#pragma unroll
        for (int m = 0; m < kBlocks; ++m) {
          if (masked) mask_scores(s[m], visible >> part, limits[m][0] - key - part, limits[m][1] - key - part);
#pragma unroll
          for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
            for (int e = 0; e < 4; ++e)
              s[m][n][e] = exp2_approx(fmaf(s[m][n][e], factor, -record[m][e / 2].x)) * (dp[m][n][e] - record[m][e / 2].y);
        }
#pragma unroll
        for (int n = 0; n < kKeys / 16; ++n) {
          uint32_t ds[kBlocks][4];
#pragma unroll
          for (int m = 0; m < kBlocks; ++m) as_a<T>(ds[m], s[m][2 * n], s[m][2 * n + 1]);
#pragma unroll
          for (int step = 0; step < kTileDim / 16; ++step) {
            uint32_t keys[4];
            load_b(keys, k_tile, part + 16 * n, step);
#pragma unroll
            for (int m = 0; m < kBlocks; ++m) multiply_add<T>(sum[m][2 * step], sum[m][2 * step + 1], ds[m], keys);
          }
        }
      }
    }
    cp_async_wait<0>();
    __syncthreads();
  }
#pragma unroll
  for (int m = 0; m < kBlocks; ++m) accumulators_to_tile(q_tile, row + 16 * m, sum[m], shape.scale, shape.scale);
  __syncwarp();
  store_rows<kBlocks>(dq + q_head, stride, first + row, shape.lq, q_tile, row);
}

// dk and dv. A block has 64 keys of one head, a warp 16 of them: the rows of the transposed products. Scores exist for kQueries
// queries at a time.
template <class T>
__global__ void __launch_bounds__(kTileThreads, 3)
    attention_dkdv_kernel(T* dk, T* dv, const T* dout, const float2* records, const T* q, const T* k, const T* v,
                          const uint8_t* key_mask, const int* key_limit, AttentionShape shape, int padded) {
  constexpr int kQueries = 16;
  T* const k_tile = dynamic_shared<T>();
  T* const v_tile = k_tile + kTileElements;
  T* const q_tiles = v_tile + kTileElements;  // two of each
  T* const dout_tiles = q_tiles + 2 * kTileElements;
  float2* const record_tiles = reinterpret_cast<float2*>(dout_tiles + 2 * kTileElements);

  const int key_tiles = (shape.lk + kTileRows - 1) / kTileRows;
  const int group = blockIdx.x / key_tiles, head = group % shape.heads, b = group / shape.heads;
  const int first = static_cast<int>(blockIdx.x) % key_tiles * kTileRows;  // the first keys, whom most queries see, come first
  const int64_t stride = static_cast<int64_t>(shape.heads) * kTileDim;
  const int64_t k_head = b * shape.lk * stride + head * kTileDim;
  q += b * shape.lq * stride + head * kTileDim;
  dout += b * shape.lq * stride + head * kTileDim;
  records += static_cast<int64_t>(group) * padded;

  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4, row = threadIdx.x / kWarp * 16;
  // The next tile of queries from `query` on of which one sees a key of this block.
  const auto next_tile = [&](int query) {
    if (!key_limit) return query;
    for (; query < shape.lq; query += kTileRows) {
      int limit = 0;
      for (int i = query + lane; i < min(query + kTileRows, shape.lq); i += kWarp) limit = max(limit, __ldg(key_limit + i));
      if (__any_sync(kFullWarp, limit > first)) break;
    }
    return query;
  };
  const auto load_queries = [&](int stage, int query) {
    load_tile<kTileRows>(q_tiles + stage * kTileElements, q, stride, query, shape.lq);
    load_tile<kTileRows>(dout_tiles + stage * kTileElements, dout, stride, query, shape.lq);
    if (threadIdx.x < kTileRows / 2)
      cp_async_16(record_tiles + stage * kTileRows + 2 * threadIdx.x, records + query + 2 * threadIdx.x, true);
  };

  load_tile<kTileRows>(k_tile, k + k_head, stride, first, shape.lk);
  load_tile<kTileRows>(v_tile, v + k_head, stride, first, shape.lk);
  int query = next_tile(0);
  if (query < shape.lq) load_queries(0, query);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();

  uint32_t keys[kTileDim / 16][4], values[kTileDim / 16][4];
#pragma unroll
  for (int step = 0; step < kTileDim / 16; ++step) {
    load_a(keys[step], k_tile, row, step);
    load_a(values[step], v_tile, row, step);
  }
  float dk_sum[kTileDim / 8][4] = {}, dv_sum[kTileDim / 8][4] = {};

  const float factor = shape.scale * kLog2e;
  for (int stage = 0; query < shape.lq; stage ^= 1) {
    const T* q_tile = q_tiles + stage * kTileElements;
    const T* dout_tile = dout_tiles + stage * kTileElements;
    const int next = next_tile(query + kTileRows);
    if (next < shape.lq) load_queries(stage ^ 1, next);
    cp_async_commit();
    int least = INT32_MAX;
    if (key_limit)
      for (int i = query + lane; i < min(query + kTileRows, shape.lq); i += kWarp) least = min(least, __ldg(key_limit + i));
    const bool limited = __any_sync(kFullWarp, least < first + row + 16);
#pragma unroll 1
    for (int part = 0; part < kTileRows; part += kQueries) {
      float p[kQueries / 8][4] = {}, ds[kQueries / 8][4] = {};
#pragma unroll
      for (int step = 0; step < kTileDim / 16; ++step)
#pragma unroll
        for (int n = 0; n < kQueries / 16; ++n) {
          uint32_t queries[4], douts[4];
          load_b_transposed(queries, q_tile, part + 16 * n, step);
          load_b_transposed(douts, dout_tile, part + 16 * n, step);
          multiply_add<T>(p[2 * n], p[2 * n + 1], keys[step], queries);
          multiply_add<T>(ds[2 * n], ds[2 * n + 1], values[step], douts);
        }
#pragma unroll
      for (int n = 0; n < kQueries / 8; ++n) {
        // (lse, Σ dout·out) of this thread's two columns
        const auto record = load_vector<4>(&record_tiles[stage * kTileRows + part + 8 * n + 2 * t].x);
#pragma unroll
        for (int e = 0; e < 4; ++e) p[n][e] = exp2_approx(fmaf(p[n][e], factor, -record.v[e % 2 * 2]));
        if (limited) {
          const int column = query + part + 8 * n + 2 * t;
#pragma unroll
          for (int e = 0; e < 4; ++e)
            if (__ldg(key_limit + min(column + e % 2, shape.lq - 1)) <= first + row + g + e / 2 * 8) p[n][e] = 0.0f;
        }
#pragma unroll
        for (int e = 0; e < 4; ++e) ds[n][e] = p[n][e] * (ds[n][e] - record.v[e % 2 * 2 + 1]);
      }
#pragma unroll
      for (int n = 0; n < kQueries / 16; ++n) {
        uint32_t p_rounded[4], ds_rounded[4];
        as_a<T>(p_rounded, p[2 * n], p[2 * n + 1]);
        as_a<T>(ds_rounded, ds[2 * n], ds[2 * n + 1]);
#pragma unroll
        for (int step = 0; step < kTileDim / 16; ++step) {
          uint32_t queries[4], douts[4];
          load_b(douts, dout_tile, part + 16 * n, step);
          load_b(queries, q_tile, part + 16 * n, step);
          multiply_add<T>(dv_sum[2 * step], dv_sum[2 * step + 1], p_rounded, douts);
          multiply_add<T>(dk_sum[2 * step], dk_sum[2 * step + 1], ds_rounded, queries);
        }
      }
    }
    cp_async_wait<0>();
    __syncthreads();
    query = next;
  }

  // What a masked key has gathered counts for nothing: its rows are zeros. Keys behind the last are not stored.
  bool visible[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int key = first + row + g + 8 * half;
    visible[half] = key < shape.lk && (!key_mask || key_mask[static_cast<int64_t>(b) * shape.lk + key] != 0);
  }
#pragma unroll
  for (int n = 0; n < kTileDim / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      dk_sum[n][e] = visible[e / 2] ? dk_sum[n][e] : 0.0f;
      dv_sum[n][e] = visible[e / 2] ? dv_sum[n][e] : 0.0f;
    }
  accumulators_to_tile(k_tile, row, dk_sum, shape.scale, shape.scale);
  accumulators_to_tile(v_tile, row, dv_sum, 1.0f, 1.0f);
  __syncwarp();
  store_rows<1>(dk + k_head, stride, first + row, shape.lk, k_tile, row);
  store_rows<1>(dv + k_head, stride, first + row, shape.lk, v_tile, row);
}

// ---------------------------------------------------------------------------------------------------------------------------------

constexpr char kOp[] = "attention_backward";

template <class T>
void make_records(CudaBackend& backend, float2* records, const AttentionBackwardArgs& a, const AttentionShape& shape) {
  const T *dout = as<T>(a.dout, kOp), *out = as<T>(a.out, kOp);
  const bool vectors = a.head_dim % kVector<T> == 0 && on_16_bytes({dout, out});
  const int padded = padded_queries(shape.lq);
  const int64_t count = a.batch * a.heads * padded;
  launch(kOp, vectors ? attention_records_kernel<T, kVector<T>> : attention_records_kernel<T, 1>,
         {blocks_for(count * 8, 256), 256}, backend.stream(), records, dout, out, a.lse.f32(), shape, padded, count);
}

template <class T>
void backward(CudaBackend& backend, const float2* records, const AttentionBackwardArgs& a, const AttentionShape& shape) {
  const T *dout = as<T>(a.dout, kOp), *q = as<T>(a.q, kOp), *k = as<T>(a.k, kOp), *v = as<T>(a.v, kOp);
  const uint8_t* key_mask = a.key_mask ? a.key_mask.u8() : nullptr;
  const int* key_limit = a.key_limit ? a.key_limit.i32() : nullptr;
  const int padded = padded_queries(shape.lq);
  const auto blocks = [&](int64_t rows, int64_t per_block) {
    return blocks_for(a.batch * a.heads * blocks_for(rows, per_block), 1);
  };
  const bool large = attention_large_tiles(a.batch, a.heads, a.lq);
  const int queries = large ? 128 : 64;
  launch(kOp, large ? attention_dq_kernel<T, 2> : attention_dq_kernel<T, 1>,
         {blocks(a.lq, queries), kTileThreads, (2 * queries * kTileDim + 4 * kTileElements) * sizeof(T)}, backend.stream(),
         as<T>(a.dq, kOp), dout, records, q, k, v, key_mask, key_limit, shape, padded);
  launch(kOp, attention_dkdv_kernel<T>,
         {blocks(a.lk, kTileRows), kTileThreads, 6 * kTileElements * sizeof(T) + 2 * kTileRows * sizeof(float2)},
         backend.stream(), as<T>(a.dk, kOp), as<T>(a.dv, kOp), dout, records, q, k, v, key_mask, key_limit, shape, padded);
}

}  // namespace

void CudaBackend::attention_backward(const AttentionBackwardArgs& a) {
  const AttentionShape shape = attention_shape(a, a.lk, kOp);
  const int64_t count = a.batch * a.heads * padded_queries(shape.lq);
  const Scratch scratch(*this, static_cast<size_t>(count) * sizeof(float2));
  float2* records = scratch.as<float2>();
  dispatch_float(a.q.dtype, kOp, [&](auto tag) { make_records<decltype(tag)>(*this, records, a, shape); });
  if (!attention_on_tensor_cores(shape, a.q.dtype, {a.dq.data, a.dk.data, a.dv.data, a.dout.data, a.q.data, a.k.data, a.v.data}))
    return attention_plain_backward(*this, a, shape, records);
  a.q.dtype == DType::F16 ? backward<f16>(*this, records, a, shape) : backward<bf16>(*this, records, a, shape);
}

}  // namespace star
