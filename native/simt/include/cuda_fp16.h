// Stand-in of NVIDIA's header: the part of half precision that the kernels use.
#pragma once

#include <bit>

#include "simt/float16.h"
#include "simt/vector_types.h"

struct __half_raw {
  unsigned short x;
};

struct alignas(2) __half {
  __half() = default;
  // Conversion to float is explicit here: arithmetic operators on halves are not provided, and must not become those of float.
  __half(float x) : bits(star::simt::float_to_f16(x)) {}
  __half(const __half_raw& raw) : bits(raw.x) {}
  explicit operator float() const { return star::simt::f16_to_float(bits); }

  unsigned short bits;
};

struct alignas(4) __half2 {
  __half2() = default;
  __half2(const __half& x, const __half& y) : x(x), y(y) {}

  __half x, y;
};
using half = __half;
using half2 = __half2;

inline float __half2float(__half x) { return star::simt::f16_to_float(x.bits); }
inline __half __float2half_rn(float x) { return __half(x); }
inline __half __float2half(float x) { return __half(x); }
inline unsigned short __half_as_ushort(__half x) { return x.bits; }
inline __half __ushort_as_half(unsigned short bits) { return __half(__half_raw{bits}); }
inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
inline __half2 __float22half2_rn(float2 v) { return {__half(v.x), __half(v.y)}; }
inline float2 __half22float2(__half2 v) { return {__half2float(v.x), __half2float(v.y)}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline float __low2float(__half2 v) { return __half2float(v.x); }
inline float __high2float(__half2 v) { return __half2float(v.y); }
