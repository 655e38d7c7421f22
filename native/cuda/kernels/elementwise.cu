// Elementwise arithmetic of two tensors: y = a op b with b spread over a, and y = alpha·a + beta·b + gamma.
#include "cuda/cuda_backend.h"
#include "cuda/dispatch.h"
#include "cuda/elementwise.h"

namespace star {

namespace {

struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Sub {
  __device__ float operator()(float a, float b) const { return a - b; }
};
struct Mul {
  __device__ float operator()(float a, float b) const { return a * b; }
};
struct Div {
  __device__ float operator()(float a, float b) const { return a / b; }
};

// Where the n values of b that meet elements i … i + n − 1 of a lie.
struct SameElement {  // b has a's shape
  template <int n, class T>
  __device__ Vector<T, n> load(const T* b, int64_t i) const {
    return load_vector<n>(b + i);
  }
};
struct SameColumn {  // b is one row; n divides its length
  int64_t cols;
  template <int n, class T>
  __device__ Vector<T, n> load(const T* b, int64_t i) const {
    return load_vector<n>(b + i % cols);
  }
};
struct SameBlock {  // one value of b for each `inner` elements, `mid` of them in turn; n divides `inner`
  int64_t mid, inner;
  template <int n, class T>
  __device__ Vector<T, n> load(const T* b, int64_t i) const {
    Vector<T, n> values;
    const T value = b[i / inner % mid];
#pragma unroll
    for (int k = 0; k < n; ++k) values.v[k] = value;
    return values;
  }
};

template <class T, int n, class F, class Place>
__global__ void binary_kernel(T* y, const T* a, const T* b, int64_t count, F f, Place place) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * n;
  if (i + n <= count) {
    const Vector<T, n> va = load_vector<n>(a + i);
    const Vector<T, n> vb = place.template load<n>(b, i);
    Vector<T, n> out;
#pragma unroll
    for (int k = 0; k < n; ++k) out.v[k] = from_float<T>(f(to_float(va.v[k]), to_float(vb.v[k])));
    store_vector(y + i, out);
  } else {
    for (int64_t j = i; j < count; ++j) y[j] = from_float<T>(f(to_float(a[j]), to_float(place.template load<1>(b, j).v[0])));
  }
}

template <class T, int n>
__global__ void affine_kernel(T* y, const T* a, const T* b, float alpha, float beta, float gamma, int64_t count) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * n;
  if (i + n <= count) {
    const Vector<T, n> va = load_vector<n>(a + i);
    Vector<T, n> out;
    if (b) {
      const Vector<T, n> vb = load_vector<n>(b + i);
#pragma unroll
      for (int k = 0; k < n; ++k) out.v[k] = from_float<T>(alpha * to_float(va.v[k]) + beta * to_float(vb.v[k]) + gamma);
    } else {
#pragma unroll
      for (int k = 0; k < n; ++k) out.v[k] = from_float<T>(alpha * to_float(va.v[k]) + gamma);
    }
    store_vector(y + i, out);
  } else {
    for (int64_t j = i; j < count; ++j)
      y[j] = from_float<T>(b ? alpha * to_float(a[j]) + beta * to_float(b[j]) + gamma : alpha * to_float(a[j]) + gamma);
  }
}

// ---------------------------------------------------------------------------------------------------------------------------

template <class T, class F>
void binary_of(const BinaryArgs& args, F f, cudaStream_t stream) {
  T* y = as<T>(args.y, "binary");
  const T *a = as<T>(args.a, "binary"), *b = as<T>(args.b, "binary");
  const int64_t count = args.outer * args.mid * args.inner;
  const auto run = [&](auto place, bool vectors) {
    with_vectors<T>(vectors && aligned(y, a), [&](auto width) {
      constexpr int n = decltype(width)::value;
      launch("binary", binary_kernel<T, n, F, decltype(place)>, elementwise_shape(count, n), stream, y, a, b, count, f, place);
    });
  };
  if (args.outer == 1 && args.inner == 1)
    run(SameElement{}, aligned(b));
  else if (args.inner == 1)
    run(SameColumn{args.mid}, aligned(b) && args.mid % kVector<T> == 0);
  else
    run(SameBlock{args.mid, args.inner}, args.inner % kVector<T> == 0);
}

}  // namespace

void CudaBackend::binary(const BinaryArgs& args) {
  dispatch_float(args.y.dtype, "binary", [&](auto tag) {
    using T = decltype(tag);
    switch (args.op) {
      case BinaryOp::Add: return binary_of<T>(args, Add{}, stream());
      case BinaryOp::Sub: return binary_of<T>(args, Sub{}, stream());
      case BinaryOp::Mul: return binary_of<T>(args, Mul{}, stream());
      case BinaryOp::Div: return binary_of<T>(args, Div{}, stream());
    }
  });
}

void CudaBackend::affine(const AffineArgs& args) {
  dispatch_float(args.y.dtype, "affine", [&](auto tag) {
    using T = decltype(tag);
    T* y = as<T>(args.y, "affine");
    const T *a = as<T>(args.a, "affine"), *b = as<T>(args.b, "affine");
    with_vectors<T>(aligned(y, a, b), [&](auto width) {
      constexpr int n = decltype(width)::value;
      launch("affine", affine_kernel<T, n>, elementwise_shape(args.count, n), stream(), y, a, b, args.alpha, args.beta,
             args.gamma, args.count);
    });
  });
}

}  // namespace star
