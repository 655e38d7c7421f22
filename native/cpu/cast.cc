// Fills and conversions between element types. Most loops are plain: the compiler makes vectors of them for each instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/cast.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <bit>
#include <cstring>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/half-inl.h"
#include "cpu/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

HWY_INLINE float widen(float x) { return x; }
HWY_INLINE float widen(uint8_t x) { return static_cast<float>(x); }
HWY_INLINE float widen(int8_t x) { return static_cast<float>(x); }
HWY_INLINE int32_t widen(int32_t x) { return x; }  // exact towards u8; rounds once towards the floating types

HWY_INLINE void narrow(float x, float* y) { *y = x; }
HWY_INLINE void narrow(float x, int32_t* y) {  // towards zero; NaN becomes 0
  *y = x >= 2147483648.0f ? INT32_MAX : x <= -2147483648.0f ? INT32_MIN : x == x ? static_cast<int32_t>(x) : 0;
}
HWY_INLINE void narrow(float x, uint8_t* y) { *y = x >= 255.0f ? 255 : x > 0.0f ? static_cast<uint8_t>(x) : 0; }
HWY_INLINE void narrow(float x, int8_t* y) {  // as u8; NaN becomes 0
  *y = x >= 127.0f ? 127 : x <= -128.0f ? -128 : x == x ? static_cast<int8_t>(x) : 0;
}
HWY_INLINE void narrow(int32_t x, int32_t* y) { *y = x; }
HWY_INLINE void narrow(int32_t x, uint8_t* y) { *y = static_cast<uint8_t>(x < 0 ? 0 : x > 255 ? 255 : x); }
HWY_INLINE void narrow(int32_t x, int8_t* y) { *y = static_cast<int8_t>(x < -128 ? -128 : x > 127 ? 127 : x); }
HWY_INLINE void narrow(int32_t x, float* y) { *y = static_cast<float>(x); }
HWY_INLINE void narrow(int32_t x, Half* y) { *y = static_cast<Half>(static_cast<float>(x)); }
HWY_INLINE void narrow(int32_t x, Bf16* y) { narrow(static_cast<float>(x), y); }

template <class To, class From>
void cast_of(void* y, const void* x, int64_t begin, int64_t end) {
  To* to = static_cast<To*>(y);
  const From* from = static_cast<const From*>(x);
  if constexpr (std::is_same_v<To, float> && sizeof(From) == 2)
    widen_range(to + begin, from + begin, end - begin);
  else if constexpr (std::is_same_v<From, float> && sizeof(To) == 2)
    narrow_range(to + begin, from + begin, end - begin);
  else
    for (int64_t i = begin; i < end; ++i) narrow(widen(from[i]), to + i);
}

template <class From>
void cast_from(DType type, void* y, const void* x, int64_t begin, int64_t end) {
  switch (type) {
    case DType::F32: return cast_of<float, From>(y, x, begin, end);
    case DType::F16: return cast_of<Half, From>(y, x, begin, end);
    case DType::BF16: return cast_of<Bf16, From>(y, x, begin, end);
    case DType::I32: return cast_of<int32_t, From>(y, x, begin, end);
    case DType::U8: return cast_of<uint8_t, From>(y, x, begin, end);
    case DType::I8: return cast_of<int8_t, From>(y, x, begin, end);
  }
}

void cast_range(Ref y, CRef x, int64_t begin, int64_t end) {
  switch (x.dtype) {
    case DType::F32: return cast_from<float>(y.dtype, y.data, x.data, begin, end);
    case DType::F16: return cast_from<Half>(y.dtype, y.data, x.data, begin, end);
    case DType::BF16: return cast_from<Bf16>(y.dtype, y.data, x.data, begin, end);
    case DType::I32: return cast_from<int32_t>(y.dtype, y.data, x.data, begin, end);
    case DType::U8: return cast_from<uint8_t>(y.dtype, y.data, x.data, begin, end);
    case DType::I8: return cast_from<int8_t>(y.dtype, y.data, x.data, begin, end);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {
HWY_EXPORT(cast_range);
constexpr int64_t kGrain = 16384;

template <class T>
void fill_with(void* y, T value, int64_t count) {
  parallel_for(count, 4 * kGrain,
               [&](int64_t begin, int64_t end) { std::fill(static_cast<T*>(y) + begin, static_cast<T*>(y) + end, value); });
}
}  // namespace

void CpuBackend::cast(const CastArgs& args) {
  if (args.y.dtype == args.x.dtype) {
    copy(args.y.data, args.x.data, static_cast<size_t>(args.count) * dtype_size(args.x.dtype));
    return;
  }
  parallel_for(args.count, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(cast_range)(args.y, args.x, begin, end);
  });
}

void CpuBackend::fill(const FillArgs& args) {
  const float value = static_cast<float>(args.value);
  // One element is converted by the rules of cast, then written everywhere. An i32 is taken from the double, which holds it
  // exactly.
  char element[4] = {};
  if (args.y.dtype == DType::I32) {
    const double bounded = std::min(2147483647.0, std::max(-2147483648.0, args.value));
    const int32_t whole = args.value == args.value ? static_cast<int32_t>(bounded) : 0;
    std::memcpy(element, &whole, sizeof whole);
  } else {
    HWY_DYNAMIC_DISPATCH(cast_range)({element, args.y.dtype}, {&value, DType::F32}, 0, 1);
  }
  switch (dtype_size(args.y.dtype)) {
    case 4: return fill_with(args.y.data, std::bit_cast<uint32_t>(element), args.count);
    case 2: {
      uint16_t half;
      std::memcpy(&half, element, sizeof half);
      return fill_with(args.y.data, half, args.count);
    }
    default: return fill_with(args.y.data, static_cast<uint8_t>(element[0]), args.count);
  }
}

}  // namespace star
#endif  // HWY_ONCE
