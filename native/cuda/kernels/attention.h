// What the files of attention share on the host.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "core/error.h"
#include "core/ops/attention.h"

namespace star {

class CudaBackend;

// Dimensions as kernels take them. Tokens of a tensor are heads·head_dim elements apart.
struct AttentionShape {
  int heads, head_dim, lq, lk, kv_capacity;
  float scale;
};

template <class Args>
AttentionShape attention_shape(const Args& a, int64_t kv_capacity, const char* op) {
  constexpr int64_t kMost = 1 << 30;
  const int64_t largest = std::max({a.heads, a.lq, a.lk, kv_capacity});
  if (largest > kMost)
    fail(ErrorCode::Argument, "%s: a dimension is %lld, expected at most 2^30", op, static_cast<long long>(largest));
  if (a.head_dim > 256)
    fail(ErrorCode::Argument, "%s: head_dim is %lld, expected at most 256 on this device: use more heads", op,
         static_cast<long long>(a.head_dim));
  const auto narrow = [](int64_t n) { return static_cast<int>(n); };
  return {narrow(a.heads), narrow(a.head_dim), narrow(a.lq), narrow(a.lk), narrow(kv_capacity), a.scale};
}

inline bool on_16_bytes(std::initializer_list<const void*> addresses) {
  return std::all_of(addresses.begin(), addresses.end(), [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; });
}

// Whether the kernels for tensor cores can take it: 16 bits an element, 64 channels, addresses for 16-byte copies. Their maxima
// are taken before the scale is applied, which needs one above 0.
inline bool attention_on_tensor_cores(const AttentionShape& shape, DType dtype, std::initializer_list<const void*> operands) {
  return dtype != DType::F32 && shape.head_dim == 64 && shape.scale > 0.0f && on_16_bytes(operands);
}

// Twice the queries a warp halve what it reads from shared memory per product. That pays where enough blocks are left for the
// multiprocessors of a large GPU: about 128, two blocks at a time on each.
inline bool attention_large_tiles(int64_t batch, int64_t heads, int64_t lq) {
  return lq > 64 && batch * heads * ((lq + 127) / 128) >= 256;
}

// Records of the backward, one a query: (lse·log₂e, Σ dout·out), (+∞, 0) for a query that sees no key and for those that fill up
// the last tile of kRecordTile.
constexpr int kRecordTile = 64;
inline int padded_queries(int lq) { return (lq + kRecordTile - 1) / kRecordTile * kRecordTile; }

// `records` are (batch, heads, padded_queries).
void attention_records(CudaBackend&, float2* records, const AttentionBackwardArgs&, const AttentionShape&);

// For every element type and head_dim up to 256, in f32 arithmetic.
void attention_plain(CudaBackend&, const AttentionArgs&, const AttentionShape&);
void attention_plain_backward(CudaBackend&, const AttentionBackwardArgs&, const AttentionShape&, const float2* records);

}  // namespace star
