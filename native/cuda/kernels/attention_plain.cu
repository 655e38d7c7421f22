// Attention, forward and backward, without tensor cores: every element type in f32 arithmetic, heads of up to 256 channels.
// The same tiles as in attention_forward.cu and attention_backward.cu; 256 threads in 16 rows of 16 compute a tile of scores, a
// few rows each.
#include <type_traits>

#include "cuda/cuda_backend.h"
#include "cuda/device/attention_mask.cuh"
#include "cuda/device/attention_rows.cuh"
#include "cuda/dispatch.h"
#include "cuda/kernels/attention.h"
#include "cuda/launch.h"

namespace star {

namespace {

constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;
template <int kDim>
struct Forward {
  static constexpr int kRows = 4, kColumns = kDim <= 64 ? 4 : 2;
  static constexpr int kQueries = kRows * kSide, kKeys = kColumns * kSide;
  static constexpr size_t kShared = sizeof(float) * ((kQueries + 2 * kKeys) * kPitch<kDim> + kQueries * kPitch<kKeys>);
};

template <class T, int kDim>
__global__ void __launch_bounds__(kRowThreads, kDim <= 64 ? 2 : 1)
    attention_plain_kernel(T* out, float* lse, const T* q, const T* k, const T* v, const uint8_t* key_mask, const int* key_limit,
                           AttentionShape shape, bool vectors) {
  using P = Forward<kDim>;
  constexpr int kRows = P::kRows, kColumns = P::kColumns;
  float* const q_rows = dynamic_shared<float>();
  float* const k_rows = q_rows + P::kQueries * kPitch<kDim>;
  float* const v_rows = k_rows + P::kKeys * kPitch<kDim>;
  float* const weights = v_rows + P::kKeys * kPitch<kDim>;

  const int q_tiles = (shape.lq + P::kQueries - 1) / P::kQueries;
  const int group = blockIdx.x / q_tiles, head = group % shape.heads, b = group / shape.heads;
  const int first = (q_tiles - 1 - static_cast<int>(blockIdx.x) % q_tiles) * P::kQueries;
  const int64_t stride = static_cast<int64_t>(shape.heads) * shape.head_dim;
  const int64_t q_head = b * shape.lq * stride + head * shape.head_dim;
  k += b * shape.kv_capacity * stride + head * shape.head_dim;
  v += b * shape.kv_capacity * stride + head * shape.head_dim;
  if (key_mask) key_mask += static_cast<int64_t>(b) * shape.lk;

  const int ty = threadIdx.x / kSide, tx = threadIdx.x % kSide;
  const int seen = tile_limits<P::kQueries, P::kQueries>(key_limit, first, 0, shape.lq, shape.lk).block;
  int limits[kRows];
  float top[kRows], sum[kRows], o[kRows][kDim / kSide] = {};
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    limits[i] = limit_of(key_limit, min(first + ty * kRows + i, shape.lq - 1), shape.lk);
    top[i] = -INFINITY;
    sum[i] = 0.0f;
  }
  load_rows<P::kQueries, kDim>(q_rows, q + q_head, stride, first, shape.lq, shape.head_dim, vectors);

  const float factor = shape.scale * kLog2e;
  for (int key = 0; key < seen; key += P::kKeys) {
    __syncthreads();  // the last tile has been read
    load_rows<P::kKeys, kDim>(k_rows, k, stride, key, shape.lk, shape.head_dim, vectors);
    load_rows<P::kKeys, kDim>(v_rows, v, stride, key, shape.lk, shape.head_dim, vectors);
    __syncthreads();
    float s[kRows][kColumns];
    dot_rows<kRows, kColumns, kDim>(s, q_rows, k_rows);
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const int column = key + tx + j * kSide;
      const bool visible = key_visible(key_mask, column, shape.lk);
#pragma unroll
      for (int i = 0; i < kRows; ++i) s[i][j] = visible && column < limits[i] ? s[i][j] * factor : -INFINITY;
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      float highest = top[i];
#pragma unroll
      for (int j = 0; j < kColumns; ++j) highest = fmaxf(highest, s[i][j]);
#pragma unroll
      for (int step = kSide / 2; step > 0; step /= 2) highest = fmaxf(highest, __shfl_xor_sync(kFullWarp, highest, step));
      const float shift = highest == -INFINITY ? 0.0f : highest;  // nothing seen yet: any finite shift leaves zeros
      const float correction = exp2f(top[i] - shift);
      top[i] = highest;
      sum[i] *= correction;
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        s[i][j] = exp2f(s[i][j] - shift);
        sum[i] += s[i][j];
      }
#pragma unroll
      for (int n = 0; n < kDim / kSide; ++n) o[i][n] *= correction;
    }
    add_weighted<kRows, kColumns, kDim>(o, weights, s, v_rows);
  }

  float inverse[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int step = kSide / 2; step > 0; step /= 2) sum[i] += __shfl_xor_sync(kFullWarp, sum[i], step);
    inverse[i] = sum[i] > 0.0f ? 1.0f / sum[i] : sum[i];  // a sum that is not a number stays one
    const int query = first + ty * kRows + i;
    if (lse && tx == 0 && query < shape.lq) lse[static_cast<int64_t>(group) * shape.lq + query] = kLn2 * (top[i] + log2f(sum[i]));
  }
  store_sums<kRows, kDim>(out + q_head, stride, first, shape.lq, shape.head_dim, vectors, o, inverse);
}

template <int kDim>
struct Backward {
  static constexpr int kRows = kDim <= 64 ? 4 : 2, kColumns = 2;
  static constexpr int kTile = kRows * kSide, kStep = kColumns * kSide;
  static constexpr size_t kShared = sizeof(float) * 2 * ((kTile + kStep) * kPitch<kDim> + kTile * kPitch<kStep>);
};

// dq (kOfKeys false): rows of scores are queries, columns keys. dk and dv (kOfKeys true): rows are keys, columns queries. x
// stands for q and k, y for dout and v: s = x_row·x_column, dp = y_row·y_column, dx_row = Σ ds·x_column, dy_row = Σ p·y_column.
template <class T, int kDim, bool kOfKeys>
__global__ void __launch_bounds__(kRowThreads, kDim <= 64 ? 2 : 1)
    attention_plain_backward_kernel(T* dx, T* dy, const T* row_x, const T* row_y, const T* column_x, const T* column_y,
                                    const float2* records, const uint8_t* key_mask, const int* key_limit, AttentionShape shape,
                                    int padded, bool vectors) {
  using P = Backward<kDim>;
  constexpr int kRows = P::kRows, kColumns = P::kColumns;
  float* const rows_x = dynamic_shared<float>();
  float* const rows_y = rows_x + P::kTile * kPitch<kDim>;
  float* const columns_x = rows_y + P::kTile * kPitch<kDim>;
  float* const columns_y = columns_x + P::kStep * kPitch<kDim>;
  float* const weights_x = columns_y + P::kStep * kPitch<kDim>;
  float* const weights_y = weights_x + P::kTile * kPitch<P::kStep>;

  const int row_count = kOfKeys ? shape.lk : shape.lq, column_count = kOfKeys ? shape.lq : shape.lk;
  const int tiles = (row_count + P::kTile - 1) / P::kTile;
  const int group = blockIdx.x / tiles, head = group % shape.heads, b = group / shape.heads;
  const int first = static_cast<int>(blockIdx.x) % tiles * P::kTile;
  const int64_t stride = static_cast<int64_t>(shape.heads) * shape.head_dim;
  const int64_t row_head = b * row_count * stride + head * shape.head_dim;
  const int64_t column_head = b * column_count * stride + head * shape.head_dim;
  records += static_cast<int64_t>(group) * padded;
  if (key_mask) key_mask += static_cast<int64_t>(b) * shape.lk;

  const int row = first + threadIdx.x / kSide * kRows, tx = threadIdx.x % kSide;
  const int seen = kOfKeys ? shape.lq : tile_limits<P::kTile, P::kTile>(key_limit, first, 0, shape.lq, shape.lk).block;
  int row_limit[kRows];  // of a query; of a key: itself, or what no limit exceeds where it is masked
  float2 row_record[kRows];
  float dx_sum[kRows][kDim / kSide] = {}, dy_sum[kRows][kDim / kSide] = {};
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if constexpr (kOfKeys) {
      row_limit[i] = key_visible(key_mask, row + i, shape.lk) ? row + i : INT32_MAX;
    } else {
      row_limit[i] = limit_of(key_limit, min(row + i, shape.lq - 1), shape.lk);
      row_record[i] = records[min(row + i, padded - 1)];
    }
  }
  load_rows<P::kTile, kDim>(rows_x, row_x + row_head, stride, first, row_count, shape.head_dim, vectors);
  load_rows<P::kTile, kDim>(rows_y, row_y + row_head, stride, first, row_count, shape.head_dim, vectors);

  const float factor = shape.scale * kLog2e;
  for (int at = 0; at < seen; at += P::kStep) {
    if (kOfKeys && tile_limits<P::kStep, P::kStep>(key_limit, at, 0, shape.lq, shape.lk).block <= first) continue;
    __syncthreads();  // the last tile has been read
    load_rows<P::kStep, kDim>(columns_x, column_x + column_head, stride, at, column_count, shape.head_dim, vectors);
    load_rows<P::kStep, kDim>(columns_y, column_y + column_head, stride, at, column_count, shape.head_dim, vectors);
    __syncthreads();
    float p[kRows][kColumns], ds[kRows][kColumns];
    dot_rows<kRows, kColumns, kDim>(p, rows_x, columns_x);
    dot_rows<kRows, kColumns, kDim>(ds, rows_y, columns_y);
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const int column = at + tx + j * kSide;
      int column_limit = INT32_MAX;
      float2 column_record{};
      if constexpr (kOfKeys) {
        column_limit = limit_of(key_limit, min(column, shape.lq - 1), shape.lk);
        column_record = records[column];
      } else if (key_visible(key_mask, column, shape.lk)) {
        column_limit = column;
      }
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const bool visible = kOfKeys ? row_limit[i] < column_limit : column_limit < row_limit[i];
        const float2 record = kOfKeys ? column_record : row_record[i];
        p[i][j] = visible ? exp2f(p[i][j] * factor - record.x) : 0.0f;
        ds[i][j] = p[i][j] * (ds[i][j] - record.y);
      }
    }
    add_weighted<kRows, kColumns, kDim>(dx_sum, weights_x, ds, columns_x);
    if constexpr (kOfKeys) add_weighted<kRows, kColumns, kDim>(dy_sum, weights_y, p, columns_y);
  }

  float scales[kRows], ones[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    scales[i] = shape.scale;
    ones[i] = 1.0f;
  }
  store_sums<kRows, kDim>(dx + row_head, stride, first, row_count, shape.head_dim, vectors, dx_sum, scales);
  if constexpr (kOfKeys) store_sums<kRows, kDim>(dy + row_head, stride, first, row_count, shape.head_dim, vectors, dy_sum, ones);
}

// ---------------------------------------------------------------------------------------------------------------------------------

// Calls f with the number of channels, as a type, that a head is filled up to with zeros.
template <class F>
void with_dim(int head_dim, F&& f) {
  if (head_dim <= 32) return f(std::integral_constant<int, 32>{});
  if (head_dim <= 64) return f(std::integral_constant<int, 64>{});
  if (head_dim <= 128) return f(std::integral_constant<int, 128>{});
  f(std::integral_constant<int, 256>{});
}

}  // namespace

void attention_plain(CudaBackend& backend, const AttentionArgs& a, const AttentionShape& shape) {
  constexpr char kOp[] = "attention";
  dispatch_float(a.q.dtype, kOp, [&](auto tag) {
    using T = decltype(tag);
    T* out = as<T>(a.out, kOp);
    const T *q = as<T>(a.q, kOp), *k = as<T>(a.k, kOp), *v = as<T>(a.v, kOp);
    const bool vectors = a.head_dim % 4 == 0 && on_16_bytes({out, q, k, v});
    with_dim(shape.head_dim, [&](auto dim) {
      using P = Forward<dim>;
      launch(kOp, attention_plain_kernel<T, dim>,
             {blocks_for(a.batch * a.heads * blocks_for(a.lq, P::kQueries), 1), kRowThreads, P::kShared}, backend.stream(), out,
             a.lse.f32(), q, k, v, a.key_mask ? a.key_mask.u8() : nullptr, a.key_limit ? a.key_limit.i32() : nullptr, shape,
             vectors);
    });
  });
}

void attention_plain_backward(CudaBackend& backend, const AttentionBackwardArgs& a, const AttentionShape& shape,
                              const float2* records) {
  constexpr char kOp[] = "attention_backward";
  dispatch_float(a.q.dtype, kOp, [&](auto tag) {
    using T = decltype(tag);
    T *dq = as<T>(a.dq, kOp), *dk = as<T>(a.dk, kOp), *dv = as<T>(a.dv, kOp);
    const T *dout = as<T>(a.dout, kOp), *q = as<T>(a.q, kOp), *k = as<T>(a.k, kOp), *v = as<T>(a.v, kOp);
    const uint8_t* key_mask = a.key_mask ? a.key_mask.u8() : nullptr;
    const int* key_limit = a.key_limit ? a.key_limit.i32() : nullptr;
    const bool vectors = a.head_dim % 4 == 0 && on_16_bytes({dq, dk, dv, dout, q, k, v});
    with_dim(shape.head_dim, [&](auto dim) {
      using P = Backward<dim>;
      const auto blocks = [&](int64_t rows) { return blocks_for(a.batch * a.heads * blocks_for(rows, P::kTile), 1); };
      const int padded = padded_queries(shape.lq);
      launch(kOp, attention_plain_backward_kernel<T, dim, false>, {blocks(a.lq), kRowThreads, P::kShared}, backend.stream(), dq,
             nullptr, q, dout, k, v, records, key_mask, key_limit, shape, padded, vectors);
      launch(kOp, attention_plain_backward_kernel<T, dim, true>, {blocks(a.lk), kRowThreads, P::kShared}, backend.stream(), dk,
             dv, k, v, q, dout, records, key_mask, key_limit, shape, padded, vectors);
    });
  });
}

}  // namespace star
