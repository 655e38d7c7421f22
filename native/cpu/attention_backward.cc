// Attention, backward: probabilities are computed again from the saved log-sum-exp, tile by tile.
#include "cpu/vector_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention_backward.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include "core/error.h"
#include "cpu/attention-inl.h"
#include "cpu/attention_plan.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/scratch.h"

#ifndef STAR_CPU_ATTENTION_WANTED
#define STAR_CPU_ATTENTION_WANTED
namespace star {
enum class Wanted { All, Queries, KeysAndValues };  // which gradients a piece computes: its tiles are of queries, or of keys
}  // namespace star
#endif

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

// One head: packed operands and the gradients that are being summed.
struct HeadBackward {
  int64_t dim, width, queries, padded_queries, padded_keys;
  float *kt, *vt, *k;             // keys and values transposed in tiles, keys in rows
  float *q, *dout, *lse, *delta;  // q times scale·log₂e; lse in units of log 2; delta = Σ dout·out
  float *dq, *dk, *dv;            // dq of all queries, dk and dv of one tile of keys
  float *p, *ds, *mask;
  const int32_t* limits;
  int64_t lk;

  static int64_t floats(int64_t dim, int64_t padded_queries, int64_t padded_keys) {
    const int64_t width = padded_dim(dim);
    return padded_keys * (2 * dim + width + 1) + padded_queries * (3 * width + 2) + 2 * kKeys * width + 2 * kQueries * kKeys;
  }
  HeadBackward(float* memory, int64_t dim, int64_t queries, int64_t padded_queries, int64_t padded_keys)
      : dim(dim), width(padded_dim(dim)), queries(queries), padded_queries(padded_queries), padded_keys(padded_keys) {
    const auto take = [&](int64_t count) {
      float* at = memory;
      memory += count;
      return at;
    };
    kt = take(padded_keys * dim), vt = take(padded_keys * dim), k = take(padded_keys * width);
    q = take(padded_queries * width), dout = take(padded_queries * width), dq = take(padded_queries * width);
    dk = take(kKeys * width), dv = take(kKeys * width);
    p = take(kQueries * kKeys), ds = take(kQueries * kKeys);
    lse = take(padded_queries), delta = take(padded_queries), mask = take(padded_keys);
  }
  int64_t limit_of(int64_t i) const { return i >= queries ? 0 : limits ? std::min<int64_t>(limits[i], lk) : lk; }
};

// p and ds = p·(dout·vᵀ − delta) of one group of queries and the first `columns` keys of a tile.
HWY_INLINE void group_scores(const HeadBackward& s, int64_t first, int64_t key, int64_t columns, float* p, float* ds,
                             bool masked) {
  const F32 d;
  product_rows<Into::Set, 1>(p, kKeys, s.q + first * s.width, s.width, s.kt + key * s.dim, kKeys, s.dim, columns);
  product_rows<Into::Set, 1>(ds, kKeys, s.dout + first * s.width, s.width, s.vt + key * s.dim, kKeys, s.dim, columns);
  for (int64_t r = 0; r < kGroup; ++r, p += kKeys, ds += kKeys) {
    const int64_t seen = visible(s.limit_of(first + r), key);
    if (seen < columns || masked) mask_scores(p, seen, columns, masked ? s.mask + key : nullptr);
    const V32 lse = set(s.lse[first + r]), delta = set(s.delta[first + r]);
    for (int64_t j = 0; j < columns; j += kLanes) {
      const V32 probability = exp2_of(hn::Sub(hn::Load(d, p + j), lse));
      hn::Store(probability, d, p + j);
      hn::Store(hn::Mul(probability, hn::Sub(hn::Load(d, ds + j), delta)), d, ds + j);
    }
  }
}

// One tile of queries against one tile of keys.
HWY_INLINE void backward_tile(const HeadBackward& s, int64_t first, int64_t key, bool masked, Wanted wanted) {
  const int64_t rows = std::min(kQueries, s.padded_queries - first), width = s.width;
  int64_t counts[kQueries / kGroup], widest = 0;
  for (int64_t g = 0; g * kGroup < rows; ++g) {
    counts[g] = 0;
    for (int r = 0; r < kGroup; ++r) counts[g] = std::max(counts[g], visible(s.limit_of(first + g * kGroup + r), key));
    widest = std::max(widest, counts[g]);
  }
  if (widest == 0) return;
  const int64_t columns = round_up(widest, kLanes);
  for (int64_t g = 0; g * kGroup < rows; ++g) {
    float* p = s.p + g * kGroup * kKeys;
    float* ds = s.ds + g * kGroup * kKeys;
    const int64_t own = round_up(counts[g], kLanes);
    if (own > 0) group_scores(s, first + g * kGroup, key, own, p, ds, masked);
    for (int r = 0; r < kGroup && own < columns; ++r) {
      std::fill(p + r * kKeys + own, p + r * kKeys + columns, 0.0f);
      std::fill(ds + r * kKeys + own, ds + r * kKeys + columns, 0.0f);
    }
    if (wanted != Wanted::KeysAndValues && own > 0)
      product_rows<Into::Add, 1>(s.dq + (first + g * kGroup) * width, width, ds, kKeys, s.k + key * width, width, counts[g],
                                 width);
  }
  if (wanted == Wanted::Queries) return;
  for (int64_t j = 0; j < columns; j += kGroup) {
    product_rows<Into::Add, kKeys>(s.dv + j * width, width, s.p + j, 1, s.dout + first * width, width, rows, width);
    product_rows<Into::Add, kKeys>(s.dk + j * width, width, s.ds + j, 1, s.q + first * width, width, rows, width);
  }
}

// Rows of `from` times `factor`; where the result is 16 bits wide, `from` itself is scaled.
template <class T>
void unpack_rows(T* to, int64_t to_row, float* from, int64_t width, int64_t rows, int64_t dim, float factor) {
  const auto scaled = [f = set(factor)](V32 x) { return hn::Mul(f, x); };
  for (int64_t r = 0; r < rows; ++r) {
    float* row = from + r * width;
    if constexpr (std::is_same_v<T, float>) {
      map1(to + r * to_row, row, dim, scaled);
    } else {
      map1(row, row, dim, scaled);
      narrow_range(to + r * to_row, row, dim);
    }
  }
}

template <class T>
void attention_backward_piece_of(const AttentionBackwardArgs& a, const AttentionPiece& piece, Wanted wanted, Scratch& scratch) {
  const int64_t dim = a.head_dim, stride = a.heads * dim;
  const int64_t padded_queries = round_up(a.lq, kGroup), key_tiles = (a.lk + kKeys - 1) / kKeys;
  HeadBackward s(
      scratch.floats("attention_backward", static_cast<size_t>(HeadBackward::floats(dim, padded_queries, key_tiles * kKeys))),
      dim, a.lq, padded_queries, key_tiles * kKeys);
  const auto in = [](const CRef& ref, int64_t offset) { return static_cast<const T*>(ref.data) + offset; };
  const auto to = [](const Ref& ref, int64_t offset) { return static_cast<T*>(ref.data) + offset; };
  s.limits = a.key_limit ? a.key_limit.i32() : nullptr;
  s.lk = a.lk;
  const int64_t q_offset = piece.b * a.lq * stride + piece.h * dim, k_offset = piece.b * a.lk * stride + piece.h * dim;
  pack_transposed(s.kt, in(a.k, k_offset), stride, a.lk, dim);
  pack_transposed(s.vt, in(a.v, k_offset), stride, a.lk, dim);
  pack_rows(s.k, s.width, in(a.k, k_offset), stride, a.lk, a.lk, dim, 1.0f);
  pack_rows(s.q, s.width, in(a.q, q_offset), stride, a.lq, padded_queries, dim, a.scale * kLog2e);
  pack_rows(s.dout, s.width, in(a.dout, q_offset), stride, a.lq, padded_queries, dim, 1.0f);
  std::memset(s.dq, 0, static_cast<size_t>(padded_queries * s.width) * sizeof(float));
  const float* lse = a.lse.f32() + (piece.b * a.heads + piece.h) * a.lq;
  const T* out = in(a.out, q_offset);
  for (int64_t i = 0; i < padded_queries; ++i) {
    // An infinite sum makes all probabilities of a query 0: one that sees no key, or fills up the last group.
    s.lse[i] = i < a.lq && lse[i] != -kInfinity ? lse[i] * kLog2e : kInfinity;
    s.delta[i] = 0.0f;
    if (i >= a.lq) continue;
    const float* row = as_floats(out + i * stride, s.dk, dim);  // dk is free until keys are visited
    s.delta[i] = static_cast<float>(sum2(s.dout + i * s.width, row, dim, [](V32 x, V32 y) { return hn::Mul(x, y); }));
  }
  if (a.key_mask) {
    const uint8_t* seen = a.key_mask.u8() + piece.b * a.lk;
    for (int64_t j = 0; j < a.lk; ++j) s.mask[j] = seen[j] ? 0.0f : -kInfinity;
  }

  const bool part_of_keys = wanted == Wanted::KeysAndValues, part_of_queries = wanted == Wanted::Queries;
  const int64_t first_key = part_of_keys ? piece.begin * kKeys : 0,
                last_key = part_of_keys ? std::min(a.lk, piece.end * kKeys) : a.lk;
  const int64_t first_query = part_of_queries ? piece.begin * kQueries : 0;
  const int64_t last_query = part_of_queries ? std::min(a.lq, piece.end * kQueries) : a.lq;
  for (int64_t key = first_key; key < last_key; key += kKeys) {
    std::memset(s.dk, 0, static_cast<size_t>(2 * kKeys * s.width) * sizeof(float));  // dk and, behind it, dv
    for (int64_t first = first_query; first < last_query; first += kQueries)
      backward_tile(s, first, key, static_cast<bool>(a.key_mask), wanted);
    if (part_of_queries) continue;
    const int64_t count = std::min(kKeys, a.lk - key);
    unpack_rows(to(a.dk, k_offset + key * stride), stride, s.dk, s.width, count, dim, kLn2);
    unpack_rows(to(a.dv, k_offset + key * stride), stride, s.dv, s.width, count, dim, 1.0f);
  }
  if (!part_of_keys)
    unpack_rows(to(a.dq, q_offset + first_query * stride), stride, s.dq + first_query * s.width, s.width,
                last_query - first_query, dim, a.scale);
}

void attention_backward_piece(const AttentionBackwardArgs& a, const AttentionPiece& piece, Wanted wanted, Scratch& scratch) {
  with_float_type(a.q.dtype, "attention_backward",
                  [&](auto tag) { attention_backward_piece_of<decltype(tag)>(a, piece, wanted, scratch); });
}

int64_t attention_tile() {
  static_assert(kQueries == kKeys, "pieces count tiles of queries and of keys alike");
  return kKeys;
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {
HWY_EXPORT(attention_backward_piece);
HWY_EXPORT(attention_tile);
}  // namespace

void CpuBackend::attention_backward(const AttentionBackwardArgs& a) {
  for (const CRef& ref : {CRef(a.dq), CRef(a.dk), CRef(a.dv), a.dout, a.out, a.k, a.v})
    expect_like_others(ref, a.q.dtype, "attention_backward");
  const int64_t tile = HWY_DYNAMIC_DISPATCH(attention_tile)();
  const bool parallel = a.batch * a.heads * a.lq * a.lk * a.head_dim >= kSharedProducts;
  const int64_t threads = parallel ? thread_count() : 1;
  const auto run = [&](const AttentionPlan& plan, Wanted wanted) {
    plan.run(parallel, [&](const AttentionPiece& piece) {
      thread_local Scratch scratch;
      HWY_DYNAMIC_DISPATCH(attention_backward_piece)(a, piece, wanted, scratch);
    });
  };
  if (a.batch * a.heads >= threads) {
    run(AttentionPlan(a.batch, a.heads, 1, 1), Wanted::All);
  } else {  // too few heads for all threads: gradients of queries and of keys apart, each in parts of a head
    run(AttentionPlan(a.batch, a.heads, (a.lq + tile - 1) / tile, threads), Wanted::Queries);
    run(AttentionPlan(a.batch, a.heads, (a.lk + tile - 1) / tile, threads), Wanted::KeysAndValues);
  }
}

}  // namespace star
#endif  // HWY_ONCE
