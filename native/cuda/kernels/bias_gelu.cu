// Adds a bias to rows and applies gelu (tanh form): y = gelu(x + bias), with x + bias kept where the gradient wants it; and the
// gradient of gelu.
#include <algorithm>
#include <type_traits>

#include "cuda/bias_gelu.h"
#include "cuda/device/activation.cuh"
#include "cuda/device/element.cuh"
#include "cuda/dispatch.h"
#include "cuda/elementwise.h"
#include "cuda/launch.h"

namespace star {

namespace {

// A thread keeps `width` columns and walks down the rows; n is a multiple of width.
template <class T, class X, int width, bool activate>
__global__ void bias_gelu_kernel(T* y, T* __restrict__ sum, const X* x, const T* __restrict__ bias, int64_t rows, int64_t n) {
  const int64_t col = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * width;
  if (col >= n) return;
  Vector<float, width> b;
#pragma unroll
  for (int i = 0; i < width; ++i) b.v[i] = bias ? to_float(bias[col + i]) : 0.0f;
  for (int64_t row = static_cast<int64_t>(blockIdx.y) * blockDim.y + threadIdx.y; row < rows;
       row += static_cast<int64_t>(gridDim.y) * blockDim.y) {
    const int64_t at = row * n + col;
    const Vector<X, width> in = load_vector<width>(x + at);
    Vector<T, width> out, before;
#pragma unroll
    for (int i = 0; i < width; ++i) {
      const float s = to_float(in.v[i]) + b.v[i];
      before.v[i] = from_float<T>(s);
      out.v[i] = activate ? from_float<T>(gelu(s)) : before.v[i];
    }
    if (sum) store_vector<width>(sum + at, before);
    store_vector<width>(y + at, out);
  }
}

template <class T, class X, int width>
__global__ void gelu_backward_kernel(T* dx, const X* dy, const T* __restrict__ sum, int64_t count) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * width;
  if (i + width <= count) {
    const Vector<X, width> in = load_vector<width>(dy + i);
    const Vector<T, width> s = load_vector<width>(sum + i);
    Vector<T, width> out;
#pragma unroll
    for (int k = 0; k < width; ++k) out.v[k] = from_float<T>(to_float(in.v[k]) * gelu_slope(to_float(s.v[k])));
    store_vector<width>(dx + i, out);
  } else {
    for (int64_t j = i; j < count; ++j) dx[j] = from_float<T>(to_float(dy[j]) * gelu_slope(to_float(sum[j])));
  }
}

// -----------------------------------------------------------------------------------------------------------------------------

// Calls f with a value of T and one of X, the types of the result and of what a library wrote.
template <class F>
void dispatch_pair(DType result, DType product, const char* op, F&& f) {
  dispatch_float(result, op, [&](auto tag) {
    using T = decltype(tag);
    if constexpr (!std::is_same_v<T, float>) {
      if (product == DType::F32) return f(tag, float{});
    }
    f(tag, tag);
  });
}

// Elements of 16 bytes in the wider of the two types.
template <class T, class X>
constexpr int kWidth = 16 / static_cast<int>(std::max(sizeof(T), sizeof(X)));

template <class T, class X, int width>
void launch_bias_gelu(CudaBackend& backend, const char* op, const BiasGeluArgs& args) {
  constexpr unsigned kThreads = 256;
  unsigned across = 1;  // threads along a row: a power of two
  while (across < kThreads && across * width < args.n) across *= 2;
  const unsigned down = kThreads / across;
  const LaunchShape shape{
      dim3(blocks_for(args.n, int64_t{across} * width), std::min(blocks_for(args.rows, int64_t{down} * 4), 65535u)),
      dim3(across, down)};
  const auto kernel = args.gelu ? bias_gelu_kernel<T, X, width, true> : bias_gelu_kernel<T, X, width, false>;
  launch(op, kernel, shape, backend.stream(), as<T>(args.y, op), as<T>(args.sum, op), as<X>(args.x, op), as<T>(args.bias, op),
         args.rows, args.n);
}

}  // namespace

void bias_gelu(CudaBackend& backend, const char* op, const BiasGeluArgs& args) {
  if (args.rows == 0 || args.n == 0) return;
  dispatch_pair(args.y.dtype, args.x.dtype, op, [&](auto result, auto product) {
    using T = decltype(result);
    using X = decltype(product);
    if (args.n % kWidth<T, X> == 0 && aligned(args.y.data, args.sum.data, args.x.data))
      launch_bias_gelu<T, X, kWidth<T, X>>(backend, op, args);
    else
      launch_bias_gelu<T, X, 1>(backend, op, args);
  });
}

void gelu_backward(CudaBackend& backend, const char* op, const GeluBackwardArgs& args) {
  dispatch_pair(args.dx.dtype, args.dy.dtype, op, [&](auto result, auto product) {
    using T = decltype(result);
    using X = decltype(product);
    const bool vectors = aligned(args.dx.data, args.dy.data, args.sum.data);
    const auto kernel = vectors ? gelu_backward_kernel<T, X, kWidth<T, X>> : gelu_backward_kernel<T, X, 1>;
    launch(op, kernel, elementwise_shape(args.count, vectors ? kWidth<T, X> : 1), backend.stream(), as<T>(args.dx, op),
           as<X>(args.dy, op), as<T>(args.sum, op), args.count);
  });
}

}  // namespace star
