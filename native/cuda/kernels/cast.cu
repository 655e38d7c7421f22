// Fills and conversions between element types.
#include <algorithm>

#include "cuda/cuda_backend.h"
#include "cuda/elementwise.h"

namespace star {

namespace {

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(f16 x) { return to_float(x); }
__device__ __forceinline__ float widen(bf16 x) { return to_float(x); }
__device__ __forceinline__ float widen(uint8_t x) { return x; }
__device__ __forceinline__ float widen(int8_t x) { return x; }
__device__ __forceinline__ int32_t widen(int32_t x) { return x; }  // exact towards u8; rounds once towards the floating types

template <class T>
struct Narrow {
  __device__ static T of(float x) { return from_float<T>(x); }
  __device__ static T of(int32_t x) { return from_float<T>(static_cast<float>(x)); }
};
template <>
struct Narrow<int32_t> {
  __device__ static int32_t of(float x) {  // towards zero; NaN becomes 0
    return x >= 2147483648.0f ? INT32_MAX : x <= -2147483648.0f ? INT32_MIN : x == x ? static_cast<int32_t>(x) : 0;
  }
  __device__ static int32_t of(int32_t x) { return x; }
};
template <>
struct Narrow<uint8_t> {
  __device__ static uint8_t of(float x) { return x >= 255.0f ? 255 : x > 0.0f ? static_cast<uint8_t>(x) : 0; }
  __device__ static uint8_t of(int32_t x) { return static_cast<uint8_t>(x < 0 ? 0 : x > 255 ? 255 : x); }
};

template <>
struct Narrow<int8_t> {
  __device__ static int8_t of(float x) {  // as u8; NaN becomes 0
    return x >= 127.0f ? 127 : x <= -128.0f ? -128 : x == x ? static_cast<int8_t>(x) : 0;
  }
  __device__ static int8_t of(int32_t x) { return static_cast<int8_t>(x < -128 ? -128 : x > 127 ? 127 : x); }
};

// n elements a thread.
template <class To, class From, int n>
__global__ void cast_kernel(To* y, const From* x, int64_t count) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * n;
  if (i + n <= count) {
    const Vector<From, n> in = load_vector<n>(x + i);
    Vector<To, n> out;
#pragma unroll
    for (int k = 0; k < n; ++k) out.v[k] = Narrow<To>::of(widen(in.v[k]));
    store_vector(y + i, out);
  } else {
    for (int64_t j = i; j < count; ++j) y[j] = Narrow<To>::of(widen(x[j]));
  }
}

template <class T>
__global__ void fill_kernel(T* y, T value, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) y[i] = value;
}

// ---------------------------------------------------------------------------------------------------------------------------

// Calls f with a value of the element type.
template <class F>
void dispatch_any(DType dtype, F&& f) {
  switch (dtype) {
    case DType::F32: return f(float{});
    case DType::F16: return f(f16{});
    case DType::BF16: return f(bf16{});
    case DType::I32: return f(int32_t{});
    case DType::U8: return f(uint8_t{});
    case DType::I8: return f(int8_t{});
  }
}

template <class T>
void fill_with(Ref y, T value, int64_t count, cudaStream_t stream) {
  launch("fill", fill_kernel<T>, elementwise_shape(count, 1), stream, static_cast<T*>(y.data), value, count);
}

}  // namespace

void CudaBackend::cast(const CastArgs& args) {
  if (args.y.dtype == args.x.dtype)
    return copy(args.y.data, args.x.data, static_cast<size_t>(args.count) * dtype_size(args.x.dtype));
  dispatch_any(args.y.dtype, [&](auto to) {
    dispatch_any(args.x.dtype, [&](auto from) {
      using To = decltype(to);
      using From = decltype(from);
      constexpr int n = 16 / static_cast<int>(std::max(sizeof(To), sizeof(From)));
      To* y = static_cast<To*>(args.y.data);
      const From* x = static_cast<const From*>(args.x.data);
      if (aligned(y, x))
        launch("cast", cast_kernel<To, From, n>, elementwise_shape(args.count, n), stream(), y, x, args.count);
      else
        launch("cast", cast_kernel<To, From, 1>, elementwise_shape(args.count, 1), stream(), y, x, args.count);
    });
  });
}

void CudaBackend::fill(const FillArgs& args) {
  const float value = static_cast<float>(args.value);
  switch (args.y.dtype) {
    case DType::F32: return fill_with(args.y, value, args.count, stream());
    case DType::F16: return fill_with(args.y, __float2half_rn(value), args.count, stream());
    case DType::BF16: return fill_with(args.y, __float2bfloat16_rn(value), args.count, stream());
    case DType::I32: {  // from the double, which holds every i32 exactly; NaN becomes 0
      const double bounded = std::min(2147483647.0, std::max(-2147483648.0, args.value));
      return fill_with(args.y, args.value == args.value ? static_cast<int32_t>(bounded) : 0, args.count, stream());
    }
    case DType::U8: {
      const uint8_t byte = value >= 255.0f ? 255 : value > 0.0f ? static_cast<uint8_t>(value) : 0;
      return fill_with(args.y, byte, args.count, stream());
    }
    case DType::I8: {
      const int8_t byte = value >= 127.0f ? 127 : value <= -128.0f ? -128 : value == value ? static_cast<int8_t>(value) : 0;
      return fill_with(args.y, byte, args.count, stream());
    }
  }
}

}  // namespace star
