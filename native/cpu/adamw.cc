// AdamW over many tensors in one call, and what is asked about gradients before it: their global norm, and whether all are
// finite.
#include "cpu/vector_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/adamw.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/half.h"
#include "cpu/parallel.h"

#ifndef STAR_CPU_ADAMW_FACTORS
#define STAR_CPU_ADAMW_FACTORS
namespace star {
struct AdamWFactors {  // what is the same for all elements of a tensor
  float clip, beta1, one_minus_beta1, beta2, one_minus_beta2, decay, step_size, inverse_root_correction2, eps;
};
}  // namespace star
#endif

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void adamw_range(float* p, float* m, float* v, const float* grad, const AdamWFactors& f, int64_t count) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto clip = hn::Set(d, f.clip), beta1 = hn::Set(d, f.beta1), beta2 = hn::Set(d, f.beta2);
  const auto rest1 = hn::Set(d, f.one_minus_beta1), rest2 = hn::Set(d, f.one_minus_beta2);
  const auto decay = hn::Set(d, f.decay), step = hn::Set(d, f.step_size), eps = hn::Set(d, f.eps);
  const auto root = hn::Set(d, f.inverse_root_correction2);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto g = hn::Mul(hn::LoadU(d, grad + i), clip);
    const auto new_m = hn::MulAdd(beta1, hn::LoadU(d, m + i), hn::Mul(rest1, g));
    const auto new_v = hn::MulAdd(beta2, hn::LoadU(d, v + i), hn::Mul(rest2, hn::Mul(g, g)));
    const auto update = hn::Div(hn::Mul(step, new_m), hn::MulAdd(hn::Sqrt(new_v), root, eps));
    hn::StoreU(new_m, d, m + i);
    hn::StoreU(new_v, d, v + i);
    hn::StoreU(hn::Sub(hn::Mul(hn::LoadU(d, p + i), decay), update), d, p + i);
  }
  for (; i < count; ++i) {
    const float g = grad[i] * f.clip;
    m[i] = f.beta1 * m[i] + f.one_minus_beta1 * g;
    v[i] = f.beta2 * v[i] + f.one_minus_beta2 * g * g;
    p[i] = p[i] * f.decay - f.step_size * m[i] / (std::sqrt(v[i]) * f.inverse_root_correction2 + f.eps);
  }
}

// Σ x² in float64: squares of large gradients of a scaled half-precision loss overflow float32.
double sum_squares(const float* x, int64_t count) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> half;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    const auto a = hn::PromoteTo(d, hn::LoadU(half, x + i)), b = hn::PromoteTo(d, hn::LoadU(half, x + i + lanes));
    sum0 = hn::MulAdd(a, a, sum0);
    sum1 = hn::MulAdd(b, b, sum1);
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
  for (; i < count; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

// By exponent: it is all ones in infinities and NaN, which makes them the largest magnitudes when taken as integers.
bool all_finite(const float* x, int64_t count) {
  const hn::ScalableTag<int32_t> d;
  const hn::RebindToFloat<decltype(d)> df;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto magnitude = hn::Set(d, 0x7fffffff);
  auto largest = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) largest = hn::Max(largest, hn::And(hn::BitCast(d, hn::LoadU(df, x + i)), magnitude));
  bool finite = hn::GetLane(hn::MaxOfLanes(d, largest)) < 0x7f800000;
  for (; i < count; ++i) finite = finite && std::isfinite(x[i]);
  return finite;
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {

HWY_EXPORT(adamw_range);
HWY_EXPORT(sum_squares);
HWY_EXPORT(all_finite);
constexpr int64_t kGrain = 16384;

struct Piece {  // at most kGrain elements of one tensor
  size_t tensor;
  int64_t begin, end;
};

// Small and large tensors alike become pieces of one list, so that threads share the work evenly.
template <typename Count>
std::vector<Piece> pieces_of(size_t tensors, Count&& count) {
  std::vector<Piece> pieces;
  for (size_t t = 0; t < tensors; ++t)
    for (int64_t begin = 0; begin < count(t); begin += kGrain) pieces.push_back({t, begin, std::min(count(t), begin + kGrain)});
  return pieces;
}

// A piece of a tensor as f32, which 16-bit tensors are copied to.
const float* floats_of(CpuBackend& backend, const CRef& x, int64_t begin, int64_t end) {
  if (!is_half(x.dtype)) return x.f32() + begin;
  thread_local std::vector<float> floats(kGrain);
  backend.cast({{floats.data(), DType::F32}, {static_cast<const char*>(x.data) + begin * 2, x.dtype}, end - begin});
  return floats.data();
}

}  // namespace

void CpuBackend::global_norm(const GlobalNormArgs& a) {
  const auto pieces = pieces_of(a.tensors.size(), [&](size_t t) { return a.counts[t]; });
  std::vector<double> sums(pieces.size());
  parallel_chunks(static_cast<int64_t>(pieces.size()), 1, [&](int64_t i, int64_t, int64_t) {
    const Piece& piece = pieces[i];
    sums[i] = HWY_DYNAMIC_DISPATCH(sum_squares)(floats_of(*this, a.tensors[piece.tensor], piece.begin, piece.end),
                                                piece.end - piece.begin);
  });
  double sum = 0.0;
  for (double s : sums) sum += s;
  a.norm.f32()[0] = static_cast<float>(std::sqrt(sum));
}

void CpuBackend::finite(const FiniteArgs& a) {
  const auto pieces = pieces_of(a.tensors.size(), [&](size_t t) { return a.counts[t]; });
  std::vector<uint8_t> finite(pieces.size());
  parallel_chunks(static_cast<int64_t>(pieces.size()), 1, [&](int64_t i, int64_t, int64_t) {
    const Piece& piece = pieces[i];
    finite[i] = HWY_DYNAMIC_DISPATCH(all_finite)(floats_of(*this, a.tensors[piece.tensor], piece.begin, piece.end),
                                                 piece.end - piece.begin);
  });
  a.finite.i32()[0] = std::all_of(finite.begin(), finite.end(), [](uint8_t yes) { return yes != 0; });
}

void CpuBackend::adamw(const AdamWArgs& a) {
  const double norm = a.norm ? a.norm.f32()[0] * static_cast<double>(a.grad_scale) : 0.0;
  const double clip = a.grad_scale * (a.norm ? std::min(1.0, a.max_norm / (norm + 1e-6)) : 1.0);
  const double correction1 = 1.0 - std::pow(static_cast<double>(a.beta1), static_cast<double>(a.step));
  const double correction2 = 1.0 - std::pow(static_cast<double>(a.beta2), static_cast<double>(a.step));
  const auto pieces = pieces_of(a.tensors.size(), [&](size_t t) { return a.tensors[t].count; });
  parallel_chunks(static_cast<int64_t>(pieces.size()), 1, [&](int64_t i, int64_t, int64_t) {
    const Piece& piece = pieces[i];
    const AdamWTensor& t = a.tensors[piece.tensor];
    const AdamWFactors factors{static_cast<float>(clip),
                               a.beta1,
                               1.0f - a.beta1,
                               a.beta2,
                               1.0f - a.beta2,
                               static_cast<float>(1.0 - static_cast<double>(a.lr) * t.weight_decay),
                               static_cast<float>(a.lr / correction1),
                               static_cast<float>(1.0 / std::sqrt(correction2)),
                               a.eps};
    HWY_DYNAMIC_DISPATCH(adamw_range)
    (t.param.f32() + piece.begin, t.m.f32() + piece.begin, t.v.f32() + piece.begin,
     floats_of(*this, t.grad, piece.begin, piece.end), factors, piece.end - piece.begin);
    if (t.rounded)
      cast({{static_cast<char*>(t.rounded.data) + piece.begin * 2, t.rounded.dtype},
            {t.param.f32() + piece.begin, DType::F32},
            piece.end - piece.begin});
  });
}

}  // namespace star
#endif  // HWY_ONCE
