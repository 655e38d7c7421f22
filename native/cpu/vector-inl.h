// Loops over float arrays in whole vectors and the elementary functions that ops share, once per instruction set:
// include it after <hwy/foreach_target.h>. No include guard of the usual kind, since every target reads it again.
#if defined(STAR_CPU_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STAR_CPU_VECTOR_INL_H_
#undef STAR_CPU_VECTOR_INL_H_
#else
#define STAR_CPU_VECTOR_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>
#include <limits>
// the functions of math-inl.h need highway.h
#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using V32 = hn::Vec<F32>;

HWY_INLINE V32 set(float value) { return hn::Set(F32(), value); }

// The first `n` elements of a vector, fewer than a whole one, with zeros behind them; and the way back.
HWY_INLINE V32 load_first(const float* a, int64_t n) {
  const F32 d;
  HWY_ALIGN float t[hn::MaxLanes(d)] = {};
  std::memcpy(t, a, static_cast<size_t>(n) * sizeof(float));
  return hn::Load(d, t);
}
HWY_INLINE void store_first(V32 v, float* y, int64_t n) {
  const F32 d;
  HWY_ALIGN float t[hn::MaxLanes(d)];
  hn::Store(v, d, t);
  std::memcpy(y, t, static_cast<size_t>(n) * sizeof(float));
}

// y[i] = f(a[i]). The last partial vector goes through a buffer, so that a value never depends on its place in the array.
template <class F>
HWY_INLINE void map1(float* y, const float* a, int64_t n, const F& f) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(hn::LoadU(d, a + i)), d, y + i);
  if (i < n) store_first(f(load_first(a + i, n - i)), y + i, n - i);
}

// y[i] = f(a[i], b[i]).
template <class F>
HWY_INLINE void map2(float* y, const float* a, const float* b, int64_t n, const F& f) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
  if (i < n) store_first(f(load_first(a + i, n - i), load_first(b + i, n - i)), y + i, n - i);
}

// y[i] = f(a[i], b[i], c[i]).
template <class F>
HWY_INLINE void map3(float* y, const float* a, const float* b, const float* c, int64_t n, const F& f) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(hn::LoadU(d, a + i), hn::LoadU(d, b + i), hn::LoadU(d, c + i)), d, y + i);
  if (i < n) store_first(f(load_first(a + i, n - i), load_first(b + i, n - i), load_first(c + i, n - i)), y + i, n - i);
}

// Σ of the lanes in double.
HWY_INLINE double lanes_sum(V32 v) {
  const F32 d;
  HWY_ALIGN float t[hn::MaxLanes(d)];
  hn::Store(v, d, t);
  double sum = 0;
  for (size_t i = 0; i < hn::Lanes(d); ++i) sum += t[i];
  return sum;
}

// Σ f(a[i], b[i]) in float with four running sums a lane; for rows that fit the cache.
template <class F>
HWY_INLINE double sum2(const float* a, const float* b, int64_t n, const F& f) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V32 s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    s0 = hn::Add(s0, f(hn::LoadU(d, a + i), hn::LoadU(d, b + i)));
    s1 = hn::Add(s1, f(hn::LoadU(d, a + i + lanes), hn::LoadU(d, b + i + lanes)));
    s2 = hn::Add(s2, f(hn::LoadU(d, a + i + 2 * lanes), hn::LoadU(d, b + i + 2 * lanes)));
    s3 = hn::Add(s3, f(hn::LoadU(d, a + i + 3 * lanes), hn::LoadU(d, b + i + 3 * lanes)));
  }
  for (; i + lanes <= n; i += lanes) s0 = hn::Add(s0, f(hn::LoadU(d, a + i), hn::LoadU(d, b + i)));
  if (i < n)
    s1 = hn::Add(
        s1, hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(n - i)), f(load_first(a + i, n - i), load_first(b + i, n - i))));
  return lanes_sum(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

// e^x within 1e-6 relative; overflows to infinity, underflows to 0, keeps NaN.
HWY_INLINE V32 exp_of(V32 x) {
  const F32 d;
  const V32 y = hn::Exp(d, hn::Min(x, set(89.0f)));  // e^89 is past the largest float; the polynomial needs a bounded argument
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

// 2^x for x up to 127 within 2e-7 relative; 0 below −126, keeps NaN. 2^x = 2^n·(1 + f·p(f)) with n whole and |f| ≤ 1/2. Half the
// work of exp_of: for softmax, whose arguments are not positive.
HWY_INLINE V32 exp2_of(V32 x) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const V32 n = hn::Round(x), f = hn::Sub(x, n);
  V32 p = hn::MulAdd(f, set(0.0001545316294f), set(0.001339086336f));
  p = hn::MulAdd(p, f, set(0.009618082557f));
  p = hn::MulAdd(p, f, set(0.05550357114f));
  p = hn::MulAdd(p, f, set(0.2402265076f));
  p = hn::MulAdd(p, f, set(0.693147188f));
  p = hn::MulAdd(p, f, set(1.0f));
  const V32 power = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127))));
  return hn::IfThenZeroElse(hn::Lt(x, set(-126.0f)), hn::Mul(p, power));
}

// e^x for x ≤ 0 within |x|·1e-7 relative, which is nothing beside the 1 that the largest element adds to a sum; keeps NaN.
HWY_INLINE V32 exp_below(V32 x) { return exp2_of(hn::Mul(x, set(1.44269504f))); }

// Natural logarithm within 1e-6 relative; −∞ at 0, NaN below, ∞ at ∞.
HWY_INLINE V32 log_of(V32 x) {
  const F32 d;
  const V32 inf = set(std::numeric_limits<float>::infinity());
  V32 y = hn::Log(d, x);
  y = hn::IfThenElse(hn::Eq(x, hn::Zero(d)), hn::Neg(inf), y);
  y = hn::IfThenElse(hn::Eq(x, inf), inf, y);
  return hn::IfThenElse(hn::Ge(x, hn::Zero(d)), y, set(std::numeric_limits<float>::quiet_NaN()));
}

// 1 / (1 + e^−x).
HWY_INLINE V32 sigmoid_of(V32 x) { return hn::Div(set(1.0f), hn::Add(set(1.0f), exp_of(hn::Neg(x)))); }

// sigmoid(x) within 3e-7 relative for |x| ≤ 87, and that of ±87 beyond; a third of the work of sigmoid_of. What it makes of NaN
// is undefined: for functions that multiply it by x.
HWY_INLINE V32 fast_sigmoid(V32 x) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const V32 limited = hn::Min(hn::Max(x, set(-87.0f)), set(87.0f));
  // e^−x = 2^n·2^f with n whole, |f| ≤ 1/2, and −log₂e in two parts.
  const V32 n = hn::Round(hn::Mul(limited, set(-1.44269502f)));
  const V32 f = hn::MulAdd(limited, set(-1.92596299e-8f), hn::MulSub(limited, set(-1.44269502f), n));
  V32 p = hn::MulAdd(f, set(0.0001545316294f), set(0.001339086336f));
  p = hn::MulAdd(p, f, set(0.009618082557f));
  p = hn::MulAdd(p, f, set(0.05550357114f));
  p = hn::MulAdd(p, f, set(0.2402265076f));
  p = hn::MulAdd(p, f, set(0.693147188f));
  p = hn::MulAdd(p, f, set(1.0f));
  const V32 power = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127))));
  const V32 below = hn::MulAdd(p, power, set(1.0f));
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  const V32 near = hn::ApproximateReciprocal(below);  // 12 bits or more, twice as many after a step of Newton's
  return hn::Mul(near, hn::NegMulAdd(below, near, set(2.0f)));
#else
  return hn::Div(set(1.0f), below);
#endif
}

HWY_INLINE V32 tanh_of(V32 x) {
  const F32 d;
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Tanh(d, x));
}

HWY_INLINE V32 silu_of(V32 x) { return hn::Div(x, hn::Add(set(1.0f), exp_of(hn::Neg(x)))); }

// d silu(x) / dx = s·(1 + x·(1 − s)).
HWY_INLINE V32 silu_slope(V32 x) {
  const V32 s = sigmoid_of(x);
  return hn::Mul(s, hn::MulAdd(x, hn::Sub(set(1.0f), s), set(1.0f)));
}

// GELU in its tanh form, x/2·(1 + tanh u) with u = √(2/π)·(x + 0.044715·x³), which equals x·sigmoid(2u).
HWY_INLINE V32 gelu_of(V32 x) {
  const V32 x2 = hn::Mul(x, x);
  const V32 u2 = hn::Mul(x, hn::MulAdd(x2, set(1.5957691216f * 0.044715f), set(1.5957691216f)));
  return hn::Div(x, hn::Add(set(1.0f), exp_of(hn::Neg(u2))));
}

HWY_INLINE V32 gelu_slope(V32 x) {
  const V32 x2 = hn::Mul(x, x);
  const V32 u2 = hn::Mul(x, hn::MulAdd(x2, set(1.5957691216f * 0.044715f), set(1.5957691216f)));
  const V32 slope_u2 = hn::MulAdd(x2, set(3.0f * 1.5957691216f * 0.044715f), set(1.5957691216f));
  const V32 s = sigmoid_of(u2);
  return hn::MulAdd(hn::Mul(hn::Mul(x, s), hn::Sub(set(1.0f), s)), slope_u2, s);
}

// exp(−a²/2) and 1 − Φ(a) for a in [0, 14], Φ the normal distribution function. The quotient of the two is smooth: a quotient
// of polynomials fits it within 6e-9, so the tail keeps its relative accuracy.
struct NormalTail {
  V32 bell, upper;
};
HWY_INLINE NormalTail normal_tail(V32 a) {
  const V32 bell = exp_of(hn::Mul(hn::Mul(a, a), set(-0.5f)));
  V32 p = hn::MulAdd(a, set(0.004077588208f), set(0.04037243500f));
  p = hn::MulAdd(p, a, set(0.1824615151f));
  p = hn::MulAdd(p, a, set(0.4372505248f));
  p = hn::MulAdd(p, a, set(0.5f));
  V32 q = hn::MulAdd(a, set(0.01022086944f), set(0.1012054980f));
  q = hn::MulAdd(q, a, set(0.4674282372f));
  q = hn::MulAdd(q, a, set(1.199289441f));
  q = hn::MulAdd(q, a, set(1.672386050f));
  q = hn::MulAdd(q, a, set(1.0f));
  return {bell, hn::Mul(bell, hn::Div(p, q))};
}

// GELU, x·Φ(x): x·tail for x < 0, x − x·tail otherwise.
HWY_INLINE V32 gelu_erf_of(V32 x) {
  const V32 c = hn::Min(hn::Max(x, set(-14.0f)), set(14.0f));
  const V32 part = hn::Mul(c, normal_tail(hn::Abs(c)).upper);
  const V32 y = hn::IfThenElse(hn::Lt(x, set(0.0f)), part, hn::Sub(x, part));
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

HWY_INLINE V32 gelu_erf_slope(V32 x) {  // Φ(x) + x·exp(−x²/2)/√(2π)
  const V32 c = hn::Min(hn::Max(x, set(-14.0f)), set(14.0f));
  const NormalTail tail = normal_tail(hn::Abs(c));
  const V32 phi = hn::IfThenElse(hn::Lt(c, set(0.0f)), tail.upper, hn::Sub(set(1.0f), tail.upper));
  const V32 y = hn::MulAdd(c, hn::Mul(set(0.3989422804f), tail.bell), phi);
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#endif  // STAR_CPU_VECTOR_INL_H_
