#include "comm/reduce.h"

#include <algorithm>
#include <bit>

#include "core/error.h"

namespace star {

namespace {

struct Half {
  static float widen(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
    const uint32_t rest = static_cast<uint32_t>(h & 0x7fffu) << 13;
    // f16's exponent is biased by 15, f32's by 127; the product also normalises subnormal numbers.
    const float value = std::bit_cast<float>(rest) * 0x1p112f;
    const uint32_t bits = value >= 65536.0f ? std::bit_cast<uint32_t>(value) | 0x7f800000u : std::bit_cast<uint32_t>(value);
    return std::bit_cast<float>(bits | sign);
  }
  static uint16_t narrow(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return sign | 0x7e00u;
    if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // 65520 and above round to infinity
    if (magnitude < 0x38800000u) {
      // Adding 0.5 puts the last place of a subnormal f16 at that of an f32, which rounds to nearest, ties to even.
      const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
      return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - 0x3f000000u);
    }
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return sign | static_cast<uint16_t>((rounded - 0x38000000u) >> 13);
  }
};

struct BFloat {
  static float widen(uint16_t h) { return std::bit_cast<float>(static_cast<uint32_t>(h) << 16); }
  static uint16_t narrow(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }
};

struct Sum {
  template <class T>
  static T of(T a, T b) {
    return a + b;
  }
};
struct Max {
  template <class T>
  static T of(T a, T b) {
    return a < b ? b : a;
  }
};
struct Min {
  template <class T>
  static T of(T a, T b) {
    return b < a ? b : a;
  }
};

template <class T, class Op>
void reduce_plain(void* out, const void* a, const void* b, size_t n) {
  const T *x = static_cast<const T*>(a), *y = static_cast<const T*>(b);
  T* z = static_cast<T*>(out);
  for (size_t i = 0; i < n; ++i) z[i] = Op::of(x[i], y[i]);
}

template <class Format, class Op>
void reduce_half(void* out, const void* a, const void* b, size_t n) {
  const auto *x = static_cast<const uint16_t*>(a), *y = static_cast<const uint16_t*>(b);
  auto* z = static_cast<uint16_t*>(out);
  for (size_t i = 0; i < n; ++i) z[i] = Format::narrow(Op::of(Format::widen(x[i]), Format::widen(y[i])));
}

template <class Op>
ReduceFunction of_type(DType dtype) {
  switch (dtype) {
    case DType::F32: return reduce_plain<float, Op>;
    case DType::I32: return reduce_plain<int32_t, Op>;
    case DType::F16: return reduce_half<Half, Op>;
    case DType::BF16: return reduce_half<BFloat, Op>;
    default: fail(ErrorCode::DType, "processes cannot reduce %s, expected f32, f16, bf16 or i32", dtype_name(dtype));
  }
}

}  // namespace

ReduceFunction reduce_function(DType dtype, Reduction op) {
  switch (op) {
    case Reduction::Sum: return of_type<Sum>(dtype);
    case Reduction::Max: return of_type<Max>(dtype);
    default: return of_type<Min>(dtype);
  }
}

}  // namespace star
