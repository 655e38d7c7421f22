// Attention, backward, 16-bit elements and 64 channels a head: probabilities are computed again from the saved log-sum-exp, and
// all three gradients come of one pass over the pairs of a key tile and a query tile (Dao, "FlashAttention-2", 2023,
// section 3.1). There, blocks add up dq by atomics. Here each sum has one owner: blocks that share a head have a sum of dq each,
// which are added in a fixed order, so that the bits are always the same. Other cases go to attention_plain.cu after the records
// are made.
#include "cuda/cuda_backend.h"
#include "cuda/device/attention_mask.cuh"
#include "cuda/device/attention_tile.cuh"
#include "cuda/device/rows.cuh"
#include "cuda/dispatch.h"
#include "cuda/kernels/attention.h"
#include "cuda/launch.h"

namespace star {

namespace {

constexpr float kLog2e = 1.44269504f;

// How the tiles of one head are shared out: block (i, j) takes the key tiles i, i + keys, …, and for each of them the query tiles
// j, j + queries, …. So dq has `keys` sums, dk and dv have `queries`, and each of them is the work of one block.
struct BackwardSplits {
  int keys, queries;
};

constexpr int kKeys = 128;        // of a block at a time: 32 a warp, the rows of the transposed products
constexpr int kQueries = 64;      // of a tile
constexpr int kPartQueries = 16;  // whose scores exist at a time
static_assert(kQueries == kTileRows && kQueries == kRecordTile);

// Tiles of K, V, two of Q and of dout, dS, and the records of two tiles: two blocks fit the 164 KB of compute capability 8.0.
template <class T>
constexpr size_t kBackwardShared = 10 * kTileElements * sizeof(T) + 2 * kQueries * sizeof(float2);

// Five products a pair of tiles: s = k·qᵀ and dp = v·doutᵀ, from which p and ds are made, dv += p·dout and dk += ds·q, which stay
// in registers for all queries of a key tile, and dsᵀ·k, the key tile's part of dq. The parts of a query are added up in memory,
// in dq_sums (keys, batch·heads, padded, 64) in f32, by the one thread that has them in all key tiles of the block. dk_sums and
// dv_sums (queries, batch·heads, padded_keys, 64) are given where there are several of them.
template <class T>
__global__ void __launch_bounds__(kTileThreads, 2)
    attention_backward_kernel(T* dq, T* dk, T* dv, float* dq_sums, float* dk_sums, float* dv_sums, const T* dout,
                              const float2* records, const T* q, const T* k, const T* v, const uint8_t* key_mask,
                              const int* key_limit, AttentionShape shape, int padded, int padded_keys, BackwardSplits splits) {
  T* const k_tile = dynamic_shared<T>();
  T* const v_tile = k_tile + kKeys * kTileDim;
  T* const q_tiles = v_tile + kKeys * kTileDim;  // two of each
  T* const dout_tiles = q_tiles + 2 * kTileElements;
  T* const ds_tile = dout_tiles + 2 * kTileElements;  // (keys, queries)
  float2* const record_tiles = reinterpret_cast<float2*>(ds_tile + kKeys * kQueries);

  const int query_split = static_cast<int>(blockIdx.x) % splits.queries;
  const int key_split = static_cast<int>(blockIdx.x) / splits.queries % splits.keys;
  const int group = static_cast<int>(blockIdx.x) / splits.queries / splits.keys, head = group % shape.heads,
            b = group / shape.heads;
  const int groups = static_cast<int>(gridDim.x) / splits.queries / splits.keys;
  const int64_t stride = static_cast<int64_t>(shape.heads) * kTileDim;
  const int64_t q_head = b * shape.lq * stride + head * kTileDim, k_head = b * shape.lk * stride + head * kTileDim;
  q += q_head;
  dout += q_head;
  records += static_cast<int64_t>(group) * padded;
  if (key_mask) key_mask += static_cast<int64_t>(b) * shape.lk;
  if (dq_sums) dq_sums += (static_cast<int64_t>(key_split) * groups + group) * padded * kTileDim;

  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int row = 32 * warp;                                     // the warp's keys of a tile
  const int dq_row = warp / 2 * 32, dq_channel = warp % 2 * 32;  // its part of a tile of dq
  const float factor = shape.scale * kLog2e;
  const auto load_queries = [&](int stage, int query) {
    load_tile<kQueries>(q_tiles + stage * kTileElements, q, stride, query, shape.lq);
    load_tile<kQueries>(dout_tiles + stage * kTileElements, dout, stride, query, shape.lq);
    if (threadIdx.x < kQueries / 2)
      cp_async_16(record_tiles + stage * kQueries + 2 * threadIdx.x, records + query + 2 * threadIdx.x, true);
  };

  const int first_keys = key_split * kKeys;
  for (int first = first_keys; first < shape.lk || first == 0; first += splits.keys * kKeys) {
    // The next tile of this block from `query` on of which a query sees one of these keys. The first keys go through all tiles,
    // so that each sum of dq has a beginning.
    TileLimits seen{shape.lk, shape.lk, shape.lk};
    const auto next_tile = [&](int query) {
      for (; key_limit && query < shape.lq; query += splits.queries * kQueries) {
        seen = tile_limits<kQueries, kQueries>(key_limit, query, 0, shape.lq, shape.lk);
        if (seen.block > first || first == first_keys) break;
      }
      return query;
    };
    load_tile<kKeys>(k_tile, k + k_head, stride, first, shape.lk);
    load_tile<kKeys>(v_tile, v + k_head, stride, first, shape.lk);
    int query = next_tile(query_split * kQueries);
    if (query < shape.lq) load_queries(0, query);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();

    unsigned hidden = 0;  // bit i: this thread's key in row 8i + g of the warp's is not to be seen
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (!key_visible(key_mask, first + row + 8 * i + g, shape.lk)) hidden |= 1u << i;
    const bool all_visible = __all_sync(kFullWarp, hidden == 0);
    float dk_sum[2][kTileDim / 8][4] = {}, dv_sum[2][kTileDim / 8][4] = {};

    for (int stage = 0; query < shape.lq; stage ^= 1) {
      const T* q_tile = q_tiles + stage * kTileElements;
      const T* dout_tile = dout_tiles + stage * kTileElements;
      const TileLimits now = seen;
      const int next = next_tile(query + splits.queries * kQueries);
      if (next < shape.lq) load_queries(stage ^ 1, next);
      cp_async_commit();
      const bool limited = now.least < first + row + 32;
#pragma unroll 1
      for (int part = 0; part < kQueries; part += kPartQueries) {
        float p[2][kPartQueries / 8][4] = {}, ds[2][kPartQueries / 8][4] = {};
#pragma unroll
        for (int step = 0; step < kTileDim / 16; ++step) {
          uint32_t queries[4], douts[4];
          load_b_transposed(queries, q_tile, part, step);
          load_b_transposed(douts, dout_tile, part, step);
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            uint32_t keys[4], values[4];
            load_a(keys, k_tile, row + 16 * m, step);
            load_a(values, v_tile, row + 16 * m, step);
            multiply_add<T>(p[m][0], p[m][1], keys, queries);
            multiply_add<T>(ds[m][0], ds[m][1], values, douts);
          }
        }
#pragma unroll
        for (int n = 0; n < kPartQueries / 8; ++n) {
          // (lse, Σ dout·out) of this thread's two columns
          const auto record = load_vector<4>(&record_tiles[stage * kQueries + part + 8 * n + 2 * t].x);
          int limits[2] = {shape.lk, shape.lk};
          if (limited)
#pragma unroll
            for (int e = 0; e < 2; ++e)
              limits[e] = limit_of(key_limit, min(query + part + 8 * n + 2 * t + e, shape.lq - 1), shape.lk);
#pragma unroll
          for (int m = 0; m < 2; ++m)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              float& x = p[m][n][e];
              x = exp2_approx(fmaf(x, factor, -record.v[e % 2 * 2]));
              if (limited && limits[e % 2] <= first + row + 16 * m + 8 * (e / 2) + g) x = 0.0f;
              if (!all_visible && (hidden >> (2 * m + e / 2) & 1)) x = 0.0f;
              ds[m][n][e] = x * (ds[m][n][e] - record.v[e % 2 * 2 + 1]);
            }
        }
        uint32_t p_rounded[2][4], ds_rounded[2][4];
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          as_a<T>(p_rounded[m], p[m][0], p[m][1]);
          as_a<T>(ds_rounded[m], ds[m][0], ds[m][1]);
#pragma unroll
          for (int i = 0; i < 4; ++i)
            *reinterpret_cast<uint32_t*>(tile_at(ds_tile, row + 16 * m + 8 * (i % 2) + g, part / 8 + i / 2) + 2 * t) =
                ds_rounded[m][i];
        }
#pragma unroll
        for (int step = 0; step < kTileDim / 16; ++step) {
          uint32_t queries[4], douts[4];
          load_b(douts, dout_tile, part, step);
          load_b(queries, q_tile, part, step);
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            multiply_add<T>(dv_sum[m][2 * step], dv_sum[m][2 * step + 1], p_rounded[m], douts);
            multiply_add<T>(dk_sum[m][2 * step], dk_sum[m][2 * step + 1], ds_rounded[m], queries);
          }
        }
      }

      float sum[2][4][4] = {};
      float* const sums = dq_sums ? dq_sums + (query + dq_row + g) * kTileDim + dq_channel + 2 * t : nullptr;
      const bool begins = first == first_keys, ends = splits.keys == 1 && first + kKeys >= now.block;
      // f(a pair of channels of `sum`, its row and channel behind those of this thread)
      const auto each_pair = [&](auto f) {
#pragma unroll
        for (int m = 0; m < 2; ++m)
#pragma unroll
          for (int n = 0; n < 4; ++n)
#pragma unroll
            for (int half = 0; half < 2; ++half) f(sum[m][n][2 * half], sum[m][n][2 * half + 1], 16 * m + 8 * half, 8 * n);
      };
      if (!begins)
        each_pair([&](float& left, float& right, int i, int c) {
          const auto pair = load_vector<2>(sums + i * kTileDim + c);
          left = pair.v[0];
          right = pair.v[1];
        });
      __syncthreads();  // all of ds_tile is there
#pragma unroll
      for (int step = 0; step < kKeys / 16; ++step) {
        uint32_t ds[2][4];
#pragma unroll
        for (int m = 0; m < 2; ++m) load_a_transposed(ds[m], ds_tile, 16 * step, dq_row / 16 + m);
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          uint32_t channels[4];
          load_b(channels, k_tile, 16 * step, dq_channel / 16 + n);
#pragma unroll
          for (int m = 0; m < 2; ++m) multiply_add<T>(sum[m][2 * n], sum[m][2 * n + 1], ds[m], channels);
        }
      }
      if (ends) {
        T* const to = dq + q_head + (query + dq_row + g) * stride + dq_channel + 2 * t;
        each_pair([&](float left, float right, int i, int c) {
          if (query + dq_row + g + i < shape.lq)
            *reinterpret_cast<uint32_t*>(to + i * stride + c) = pack<T>(left * shape.scale, right * shape.scale);
        });
      } else {
        each_pair([&](float left, float right, int i, int c) {
          store_vector(sums + i * kTileDim + c, Vector<float, 2>{left, right});
        });
      }
      cp_async_wait<0>();
      __syncthreads();  // the next tile is there, and nobody reads ds_tile any more
      query = next;
    }

    if (dk_sums) {
      const int64_t at =
          ((static_cast<int64_t>(query_split) * groups + group) * padded_keys + first + row + g) * kTileDim + 2 * t;
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < kTileDim / 8; ++n)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int64_t to = at + (16 * m + 8 * half) * kTileDim + 8 * n;
            store_vector(dk_sums + to, Vector<float, 2>{dk_sum[m][n][2 * half], dk_sum[m][n][2 * half + 1]});
            store_vector(dv_sums + to, Vector<float, 2>{dv_sum[m][n][2 * half], dv_sum[m][n][2 * half + 1]});
          }
    } else {
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        accumulators_to_tile(k_tile, row + 16 * m, dk_sum[m], shape.scale, shape.scale);
        accumulators_to_tile(v_tile, row + 16 * m, dv_sum[m], 1.0f, 1.0f);
      }
      __syncwarp();
      store_rows<2>(dk + k_head, stride, first + row, shape.lk, k_tile, row);
      store_rows<2>(dv + k_head, stride, first + row, shape.lk, v_tile, row);
    }
    __syncthreads();  // the tiles take the next keys
  }
}

// out (batch, length, heads, 64) = factor · the sum of sums (copies, batch·heads, padded, 64) over its copies, in their order. A
// thread takes 8 channels, of `count`.
template <class T>
__global__ void __launch_bounds__(256) attention_sums_kernel(T* out, const float* sums, int copies, int64_t copy_size, int heads,
                                                             int length, int padded, float factor, int64_t count) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x;  // (batch, length, heads, 8)
  if (item >= count) return;
  const int64_t token = item / 8 / heads, head = item / 8 % heads;
  sums += ((token / length * heads + head) * padded + token % length) * kTileDim + item % 8 * 8;
  Floats<8> total{};
  for (int copy = 0; copy < copies; ++copy) {
    const auto left = load_floats<4>(sums + copy * copy_size), right = load_floats<4>(sums + copy * copy_size + 4);
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      total.v[c] += left.v[c];
      total.v[4 + c] += right.v[c];
    }
  }
#pragma unroll
  for (int c = 0; c < 8; ++c) total.v[c] *= factor;
  store_floats<8>(out + item * 8, total);
}

// ---------------------------------------------------------------------------------------------------------------------------------

constexpr char kOp[] = "attention_backward";

// As many blocks as run at once, where the heads alone are fewer.
BackwardSplits backward_splits(const cudaDeviceProp& card, size_t shared_bytes, int64_t heads, int64_t key_tiles,
                               int64_t query_tiles) {
  constexpr size_t kReserved = 1024;  // bytes of a block that the system takes, from compute capability 8.0 on
  const int64_t per_processor = card.sharedMemPerMultiprocessor / (shared_bytes + kReserved) >= 2 ? 2 : 1;
  const int64_t wanted = per_processor * card.multiProcessorCount / std::max<int64_t>(heads, 1);
  const int64_t keys = std::clamp<int64_t>(wanted, 1, key_tiles);
  return {static_cast<int>(keys), static_cast<int>(std::clamp<int64_t>(wanted / keys, 1, query_tiles))};
}

template <class T>
void sum_up(CudaBackend& backend, const Ref& out, const float* sums, int copies, const AttentionBackwardArgs& a, int64_t length,
            int64_t padded, float factor) {
  const int64_t count = a.batch * length * a.heads * (kTileDim / 8);
  launch(kOp, attention_sums_kernel<T>, {blocks_for(count, 256), 256}, backend.stream(), as<T>(out, kOp), sums, copies,
         a.batch * a.heads * padded * kTileDim, static_cast<int>(a.heads), static_cast<int>(length), static_cast<int>(padded),
         factor, count);
}

template <class T>
void backward(CudaBackend& backend, const float2* records, const AttentionBackwardArgs& a, const AttentionShape& shape) {
  const int64_t heads = a.batch * a.heads, padded = padded_queries(shape.lq);
  const int64_t key_tiles = std::max<int64_t>((a.lk + kKeys - 1) / kKeys, 1), padded_keys = key_tiles * kKeys;
  const BackwardSplits splits =
      backward_splits(backend.properties(), kBackwardShared<T>, heads, key_tiles, std::max<int64_t>(padded / kQueries, 1));
  // A single key tile gives all of dq.
  const auto bytes = [&](int copies, int64_t rows) { return sizeof(float) * copies * heads * rows * kTileDim; };
  const Scratch dq_scratch(backend, key_tiles > 1 ? bytes(splits.keys, padded) : 0);
  const Scratch dkdv_scratch(backend, splits.queries > 1 ? 2 * bytes(splits.queries, padded_keys) : 0);
  float* const dq_sums = key_tiles > 1 ? dq_scratch.as<float>() : nullptr;
  float* const dk_sums = splits.queries > 1 ? dkdv_scratch.as<float>() : nullptr;
  float* const dv_sums = dk_sums ? dk_sums + splits.queries * heads * padded_keys * kTileDim : nullptr;
  launch(kOp, attention_backward_kernel<T>,
         {blocks_for(heads * splits.keys * splits.queries, 1), kTileThreads, kBackwardShared<T>}, backend.stream(),
         as<T>(a.dq, kOp), as<T>(a.dk, kOp), as<T>(a.dv, kOp), dq_sums, dk_sums, dv_sums, as<T>(a.dout, kOp), records,
         as<T>(a.q, kOp), as<T>(a.k, kOp), as<T>(a.v, kOp), a.key_mask ? a.key_mask.u8() : nullptr,
         a.key_limit ? a.key_limit.i32() : nullptr, shape, static_cast<int>(padded), static_cast<int>(padded_keys), splits);
  if (splits.keys > 1) sum_up<T>(backend, a.dq, dq_sums, splits.keys, a, a.lq, padded, shape.scale);
  if (splits.queries > 1) {
    sum_up<T>(backend, a.dk, dk_sums, splits.queries, a, a.lk, padded_keys, shape.scale);
    sum_up<T>(backend, a.dv, dv_sums, splits.queries, a, a.lk, padded_keys, 1.0f);
  }
}

}  // namespace

void CudaBackend::attention_backward(const AttentionBackwardArgs& a) {
  const AttentionShape shape = attention_shape(a, a.lk, kOp);
  const int64_t count = a.batch * a.heads * padded_queries(shape.lq);
  const Scratch scratch(*this, static_cast<size_t>(count) * sizeof(float2));
  float2* records = scratch.as<float2>();
  attention_records(*this, records, a, shape);
  if (!attention_on_tensor_cores(shape, a.q.dtype, {a.dq.data, a.dk.data, a.dv.data, a.dout.data, a.q.data, a.k.data, a.v.data}))
    return attention_plain_backward(*this, a, shape, records);
  a.q.dtype == DType::F16 ? backward<f16>(*this, records, a, shape) : backward<bf16>(*this, records, a, shape);
}

}  // namespace star
