// Cross-entropy of rows of logits. A row is read from memory once in each direction: the second sweep over it finds it in cache.
#include "cpu/vector_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/cross_entropy.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/vector-inl.h"
#include "cpu/widen.h"

#ifndef STAR_CPU_ROW_STATISTICS
#define STAR_CPU_ROW_STATISTICS
namespace star {
struct RowStatistics {
  float max, sum, exp_sum;  // exp_sum: Σ exp(z − max)
  int32_t argmax;           // the lowest index on a tie
};
}  // namespace star
#endif

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

RowStatistics row_statistics(const float* z, int64_t count) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto best = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto best_index = hn::Zero(di), index = hn::Iota(di, 0);
  auto total = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto value = hn::LoadU(d, z + i);
    const auto better = hn::Gt(value, best);
    best = hn::IfThenElse(better, value, best);
    best_index = hn::IfThenElse(hn::RebindMask(di, better), index, best_index);
    index = hn::Add(index, hn::Set(di, static_cast<int32_t>(lanes)));
    total = hn::Add(total, value);
  }
  HWY_ALIGN float values[hn::MaxLanes(d)];
  HWY_ALIGN int32_t indices[hn::MaxLanes(d)];
  hn::Store(best, d, values);
  hn::Store(best_index, di, indices);
  RowStatistics s{values[0], hn::GetLane(hn::SumOfLanes(d, total)), 0.0f, indices[0]};
  for (int64_t lane = 1; lane < lanes; ++lane) {
    if (values[lane] > s.max || (values[lane] == s.max && indices[lane] < s.argmax)) {
      s.max = values[lane];
      s.argmax = indices[lane];
    }
  }
  for (; i < count; ++i) {
    s.sum += z[i];
    if (z[i] > s.max) {
      s.max = z[i];
      s.argmax = static_cast<int32_t>(i);
    }
  }
  const V32 shift = set(std::max(s.max, -3.402823466e38f));  // a row of −∞ alone has no exponentials, and the sum −∞
  s.exp_sum = static_cast<float>(sum2(z, z, count, [shift](V32 v, V32) { return exp_below(hn::Sub(v, shift)); }));
  return s;
}

// dz = g·(exp(z − lse) − smooth), to which the caller adds the target's part.
void row_gradient(float* dz, const float* z, float lse, float g, float smooth, int64_t count) {
  const V32 shift = set(lse), factor = set(g), offset = set(smooth);
  map1(dz, z, count, [=](V32 v) { return hn::Mul(factor, hn::Sub(exp_below(hn::Sub(v, shift)), offset)); });
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {

HWY_EXPORT(row_statistics);
HWY_EXPORT(row_gradient);

void check_targets(const char* op, const int32_t* targets, int64_t rows, int64_t vocab) {
  for (int64_t i = 0; i < rows; ++i)
    if (targets[i] < 0 || targets[i] >= vocab)
      fail(ErrorCode::Argument, "%s: target %d at position %lld lies outside the vocabulary of %lld", op, targets[i],
           static_cast<long long>(i), static_cast<long long>(vocab));
}

// log(eˣ + eʸ), y finite
float log_add_exp(float x, float y) { return std::max(x, y) + std::log1p(std::exp(-std::fabs(x - y))); }

int64_t row_grain(int64_t vocab) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, vocab)); }

}  // namespace

void CpuBackend::cross_entropy(const CrossEntropyArgs& a) {
  if (is_half(a.logits.dtype)) return widened(*this, "cross_entropy", a.logits.dtype, a, &CpuBackend::cross_entropy);
  float* losses = a.losses.f32();
  float* lse = a.lse.f32();
  int32_t* argmax = a.argmax ? a.argmax.i32() : nullptr;
  float* nll = a.nll ? a.nll.f32() : nullptr;
  const float* logits = a.logits.f32();
  const int32_t* targets = a.targets.i32();
  check_targets("cross_entropy", targets, a.rows, a.vocab);
  const float ls = a.label_smoothing;
  parallel_for(a.rows, row_grain(a.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* z = logits + r * a.vocab;
      const RowStatistics s = HWY_DYNAMIC_DISPATCH(row_statistics)(z, a.vocab);
      const float of_vocabulary = s.max + std::log(s.exp_sum);
      lse[r] = a.extra_class ? log_add_exp(of_vocabulary, 0.0f) : of_vocabulary;
      float loss = lse[r] - (1.0f - ls) * z[targets[r]];
      if (ls != 0.0f) loss -= ls * (s.sum / static_cast<float>(a.vocab));
      losses[r] = loss;
      if (nll) nll[r] = of_vocabulary - z[targets[r]];
      if (argmax) argmax[r] = s.argmax;
    }
  });
}

void CpuBackend::cross_entropy_backward(const CrossEntropyBackwardArgs& a) {
  if (is_half(a.logits.dtype)) {
    check_targets("cross_entropy_backward", a.targets.i32(), a.rows, a.vocab);  // here, where positions count from the first row
    return widened(*this, "cross_entropy_backward", a.logits.dtype, a, &CpuBackend::cross_entropy_backward);
  }
  float* dlogits = a.dlogits.f32();
  const float* dlosses = a.dlosses.f32();
  const float* logits = a.logits.f32();
  const float* lse = a.lse.f32();
  const int32_t* targets = a.targets.i32();
  check_targets("cross_entropy_backward", targets, a.rows, a.vocab);
  const float smooth = a.label_smoothing / static_cast<float>(a.vocab);
  parallel_for(a.rows, row_grain(a.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* dz = dlogits + r * a.vocab;
      HWY_DYNAMIC_DISPATCH(row_gradient)(dz, logits + r * a.vocab, lse[r], dlosses[r], smooth, a.vocab);
      dz[targets[r]] -= dlosses[r] * (1.0f - a.label_smoothing);
    }
  });
}

}  // namespace star
#endif  // HWY_ONCE
