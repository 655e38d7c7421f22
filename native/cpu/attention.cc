// Attention, forward: flash attention on the CPU. Scores exist for one group of queries and one tile of keys at a time.
#include "cpu/vector_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <cmath>

#include "core/error.h"
#include "cpu/attention-inl.h"
#include "cpu/attention_plan.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/scratch.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

// Online softmax of a group: where its rows stand. Scores are in units of log 2.
struct GroupState {
  HWY_ALIGN float top[kLanes];
  HWY_ALIGN float sum[kLanes];
  HWY_ALIGN float correction[kLanes];
};

// Turns scores into exp2(score − new top), and sets the correction that brings older sums to the new top.
HWY_INLINE void soften(float* scores, int64_t width, GroupState& state) {
  const F32 d;
  HWY_ALIGN float top[kLanes];
  std::memcpy(top, state.top, sizeof top);
  for (int r = 0; r < kGroup; ++r) {
    V32 highest = hn::Load(d, scores + r * kKeys);
    for (int64_t j = kLanes; j < width; j += kLanes) highest = hn::Max(highest, hn::Load(d, scores + r * kKeys + j));
    top[r] = std::max(top[r], hn::GetLane(hn::MaxOfLanes(d, highest)));
    if (top[r] == -kInfinity) top[r] = 0.0f;  // nothing seen yet: any finite top leaves zeros
  }
  hn::Store(exp2_of(hn::Sub(hn::Load(d, state.top), hn::Load(d, top))), d, state.correction);
  for (int r = 0; r < kGroup; ++r) {
    const V32 shift = set(top[r]);
    V32 sum = hn::Zero(d);
    for (int64_t j = 0; j < width; j += kLanes) {
      const V32 p = exp2_of(hn::Sub(hn::Load(d, scores + r * kKeys + j), shift));
      hn::Store(p, d, scores + r * kKeys + j);
      sum = hn::Add(sum, p);
    }
    state.sum[r] = state.sum[r] * state.correction[r] + hn::GetLane(hn::SumOfLanes(d, sum));
    state.top[r] = top[r];
  }
}

template <class T>
void attention_piece_of(const AttentionArgs& a, const AttentionPiece& piece, Scratch& scratch) {
  const F32 d;
  const int64_t dim = a.head_dim, width = padded_dim(dim), stride = a.heads * dim;
  const int64_t key_tiles = (a.lk + kKeys - 1) / kKeys, padded_keys = key_tiles * kKeys;
  const int64_t groups = kQueries / kGroup;
  const auto all_q = static_cast<const T*>(a.q.data), all_k = static_cast<const T*>(a.k.data),
             all_v = static_cast<const T*>(a.v.data);
  const auto all_out = static_cast<T*>(a.out.data);
  float* kt =
      scratch.floats("attention", static_cast<size_t>(padded_keys * (dim + width + 1) + kQueries * (2 * width) + kGroup * kKeys));
  float* v = kt + padded_keys * dim;
  float* q = v + padded_keys * width;
  float* out = q + kQueries * width;
  float* scores = out + kQueries * width;
  float* mask = scores + kGroup * kKeys;

  const int64_t kv_offset = piece.b * a.kv_capacity * stride + piece.h * dim;
  pack_transposed(kt, all_k + kv_offset, stride, a.lk, dim);
  pack_rows(v, width, all_v + kv_offset, stride, a.lk, a.lk, dim, 1.0f);
  if (a.key_mask) {
    const uint8_t* seen = a.key_mask.u8() + piece.b * a.lk;
    for (int64_t j = 0; j < a.lk; ++j) mask[j] = seen[j] ? 0.0f : -kInfinity;
  }
  const int32_t* limits = a.key_limit ? a.key_limit.i32() : nullptr;
  const auto limit_of = [&](int64_t i) { return limits ? std::min<int64_t>(limits[i], a.lk) : a.lk; };

  for (int64_t tile = piece.begin; tile < piece.end; ++tile) {
    const int64_t first = tile * kQueries, rows = std::min(kQueries, a.lq - first);
    const int64_t q_offset = (piece.b * a.lq + first) * stride + piece.h * dim;
    pack_rows(q, width, all_q + q_offset, stride, rows, round_up(rows, kGroup), dim, a.scale * kLog2e);
    GroupState state[kQueries / kGroup];
    int64_t group_limit[kQueries / kGroup] = {}, tile_limit = 0;
    for (int64_t g = 0; g * kGroup < rows; ++g) {
      hn::Store(set(-kInfinity), d, state[g].top);
      hn::Store(hn::Zero(d), d, state[g].sum);
      for (int64_t i = g * kGroup; i < std::min(rows, (g + 1) * kGroup); ++i)
        group_limit[g] = std::max(group_limit[g], limit_of(first + i));
      tile_limit = std::max(tile_limit, group_limit[g]);
    }
    std::memset(out, 0, static_cast<size_t>(kQueries * width) * sizeof(float));
    for (int64_t key = 0; key < tile_limit; key += kKeys) {
      const float* kt_tile = kt + key * dim;
      for (int64_t g = 0; g < groups && g * kGroup < rows; ++g) {
        const int64_t count = visible(group_limit[g], key), columns = round_up(count, kLanes);
        if (count == 0) continue;
        product_rows<Into::Set, 1>(scores, kKeys, q + g * kGroup * width, width, kt_tile, kKeys, dim, columns);
        for (int64_t r = 0; r < kGroup; ++r) {
          const int64_t i = g * kGroup + r, seen = i < rows ? visible(limit_of(first + i), key) : 0;
          if (seen < columns || a.key_mask) mask_scores(scores + r * kKeys, seen, columns, a.key_mask ? mask + key : nullptr);
        }
        soften(scores, columns, state[g]);
        product_rows<Into::ScaleAdd, 1>(out + g * kGroup * width, width, scores, kKeys, v + key * width, width, count, width,
                                        state[g].correction);
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      const float sum = state[i / kGroup].sum[i % kGroup];
      const V32 factor = set(sum > 0.0f ? 1.0f / sum : sum);  // a sum that is not a number stays one
      float* row = out + i * width;
      for (int64_t c = 0; c < width; c += kLanes) hn::Store(hn::Mul(factor, hn::Load(d, row + c)), d, row + c);
      narrow_range(all_out + q_offset + i * stride, row, dim);
      if (a.lse)
        a.lse.f32()[(piece.b * a.heads + piece.h) * a.lq + first + i] =
            kLn2 * (state[i / kGroup].top[i % kGroup] + std::log2(sum));
    }
  }
}

void attention_piece(const AttentionArgs& a, const AttentionPiece& piece, Scratch& scratch) {
  with_float_type(a.q.dtype, "attention", [&](auto tag) { attention_piece_of<decltype(tag)>(a, piece, scratch); });
}

int64_t attention_queries() { return kQueries; }

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {
HWY_EXPORT(attention_piece);
HWY_EXPORT(attention_queries);
}  // namespace

void CpuBackend::attention(const AttentionArgs& a) {
  for (const CRef& ref : {CRef(a.out), a.k, a.v}) expect_like_others(ref, a.q.dtype, "attention");
  const int64_t queries = HWY_DYNAMIC_DISPATCH(attention_queries)();
  const bool parallel = a.batch * a.heads * a.lq * a.lk * a.head_dim >= kSharedProducts;
  const AttentionPlan plan(a.batch, a.heads, (a.lq + queries - 1) / queries, parallel ? thread_count() : 1);
  plan.run(parallel, [&](const AttentionPiece& piece) {
    thread_local Scratch scratch;
    HWY_DYNAMIC_DISPATCH(attention_piece)(a, piece, scratch);
  });
}

}  // namespace star
#endif  // HWY_ONCE
