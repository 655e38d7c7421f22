// 16-bit floats to f32 and back, once per instruction set. Include it after <hwy/foreach_target.h>.
#if defined(STAR_CPU_HALF_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STAR_CPU_HALF_INL_H_
#undef STAR_CPU_HALF_INL_H_
#else
#define STAR_CPU_HALF_INL_H_
#endif

#include <bit>
#include <cstdint>
#include <cstring>

#include "cpu/half.h"
#include "cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

HWY_INLINE float widen(Half x) { return static_cast<float>(x); }
HWY_INLINE float widen(Bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

HWY_INLINE void narrow(float x, Half* y) { *y = static_cast<Half>(x); }
HWY_INLINE void narrow(float x, Bf16* y) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;  // to nearest, ties to even
  y->bits = static_cast<uint16_t>(x != x ? (bits >> 16) | 0x40 : rounded);
}

// Whether vectors convert halves by an instruction; the compiler alone makes no vectors of that loop.
#undef STAR_CPU_VECTOR_HALF
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)
#define STAR_CPU_VECTOR_HALF 1
#else
#define STAR_CPU_VECTOR_HALF 0
#endif

HWY_INLINE void widen_range(float* y, const float* x, int64_t count) {
  std::memcpy(y, x, static_cast<size_t>(count) * sizeof(float));
}
HWY_INLINE void widen_range(float* y, const Bf16* x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = widen(x[i]);
}
HWY_INLINE void widen_range(float* y, const Half* x, int64_t count) {
  int64_t i = 0;
#if STAR_CPU_VECTOR_HALF
  const F32 d;
  const hn::Rebind<hwy::float16_t, F32> dh;
  const auto from = reinterpret_cast<const hwy::float16_t*>(x);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (; i + lanes <= count; i += lanes) hn::StoreU(hn::PromoteTo(d, hn::LoadU(dh, from + i)), d, y + i);
#endif
  for (; i < count; ++i) y[i] = widen(x[i]);
}

HWY_INLINE void narrow_range(float* y, const float* x, int64_t count) {
  std::memcpy(y, x, static_cast<size_t>(count) * sizeof(float));
}
HWY_INLINE void narrow_range(Bf16* y, const float* x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) narrow(x[i], y + i);
}
HWY_INLINE void narrow_range(Half* y, const float* x, int64_t count) {
  int64_t i = 0;
#if STAR_CPU_VECTOR_HALF
  const F32 d;
  const hn::Rebind<hwy::float16_t, F32> dh;
  const auto to = reinterpret_cast<hwy::float16_t*>(y);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (; i + lanes <= count; i += lanes) hn::StoreU(hn::DemoteTo(dh, hn::LoadU(d, x + i)), dh, to + i);
#endif
  for (; i < count; ++i) narrow(x[i], y + i);
}

// A whole vector of elements as f32, and back, rounded to nearest even.
HWY_INLINE V32 load_wide(const float* x) { return hn::LoadU(F32(), x); }
HWY_INLINE V32 load_wide(const Bf16* x) {
  const hn::Rebind<uint16_t, F32> d16;
  const hn::RebindToUnsigned<F32> d32;
  return hn::BitCast(F32(), hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, &x->bits))));
}
HWY_INLINE V32 load_wide(const Half* x) {
#if STAR_CPU_VECTOR_HALF
  const hn::Rebind<hwy::float16_t, F32> d16;
  return hn::PromoteTo(F32(), hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(x)));
#else
  const F32 d;
  HWY_ALIGN float t[hn::MaxLanes(d)];
  widen_range(t, x, static_cast<int64_t>(hn::Lanes(d)));
  return hn::Load(d, t);
#endif
}
HWY_INLINE void store_narrow(V32 v, float* y) { hn::StoreU(v, F32(), y); }
HWY_INLINE void store_narrow(V32 v, Bf16* y) {
  const hn::Rebind<uint16_t, F32> d16;
  const hn::RebindToUnsigned<F32> d32;
  const hn::RebindToSigned<F32> ds;
  const auto bits = hn::BitCast(d32, v);
  const auto even = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1));
  const auto rounded = hn::Add(bits, hn::Add(even, hn::Set(d32, 0x7FFF)));
  const auto quiet = hn::Or(bits, hn::Set(d32, 0x400000));
  const auto chosen = hn::IfThenElse(hn::RebindMask(d32, hn::IsNaN(v)), quiet, rounded);
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(ds, hn::ShiftRight<16>(chosen))), d16, &y->bits);
}
HWY_INLINE void store_narrow(V32 v, Half* y) {
#if STAR_CPU_VECTOR_HALF
  const hn::Rebind<hwy::float16_t, F32> d16;
  hn::StoreU(hn::DemoteTo(d16, v), d16, reinterpret_cast<hwy::float16_t*>(y));
#else
  const F32 d;
  HWY_ALIGN float t[hn::MaxLanes(d)];
  hn::Store(v, d, t);
  narrow_range(y, t, static_cast<int64_t>(hn::Lanes(d)));
#endif
}

// The first `n` elements of a vector, fewer than a whole one, with zeros behind them; and the way back.
template <class T>
HWY_INLINE V32 load_wide(const T* x, int64_t n) {
  const F32 d;
  HWY_ALIGN float t[hn::MaxLanes(d)] = {};
  widen_range(t, x, n);
  return hn::Load(d, t);
}
template <class T>
HWY_INLINE void store_narrow(V32 v, T* y, int64_t n) {
  const F32 d;
  HWY_ALIGN float t[hn::MaxLanes(d)];
  hn::Store(v, d, t);
  narrow_range(y, t, n);
}

// `count` elements of a row as f32: the row itself where it is f32, else copied to `buffer`.
HWY_INLINE const float* as_floats(const float* x, float*, int64_t) { return x; }
template <class T>
HWY_INLINE const float* as_floats(const T* x, float* buffer, int64_t count) {
  widen_range(buffer, x, count);
  return buffer;
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#endif  // STAR_CPU_HALF_INL_H_
