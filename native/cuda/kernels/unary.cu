// Elementwise functions of one argument and their derivatives.
#include "cuda/cuda_backend.h"
#include "cuda/device/activation.cuh"
#include "cuda/dispatch.h"
#include "cuda/elementwise.h"

namespace star {

namespace {

// value(x) is the function, slope(x) its derivative.
struct Silu {
  __device__ float value(float x) const { return silu(x); }
  __device__ float slope(float x) const { return silu_slope(x); }
};
struct Gelu {
  __device__ float value(float x) const { return gelu(x); }
  __device__ float slope(float x) const { return gelu_slope(x); }
};
struct GeluErf {
  __device__ float value(float x) const { return gelu_erf(x); }
  __device__ float slope(float x) const { return gelu_erf_slope(x); }
};
struct LeakyRelu {  // relu is slope 0
  float negative;
  __device__ float value(float x) const { return x <= 0.0f ? x * negative : x; }
  __device__ float slope(float x) const { return x <= 0.0f ? negative : 1.0f; }
};
struct Tanh {
  __device__ float value(float x) const { return tanhf(x); }
  __device__ float slope(float x) const {
    const float y = tanhf(x);
    return 1.0f - y * y;
  }
};
struct Sigmoid {
  __device__ float value(float x) const { return sigmoid(x); }
  __device__ float slope(float x) const {
    const float s = sigmoid(x);
    return s * (1.0f - s);
  }
};
struct Exp {
  __device__ float value(float x) const { return expf(x); }
  __device__ float slope(float x) const { return expf(x); }
};
struct Log {
  __device__ float value(float x) const { return logf(x); }
  __device__ float slope(float x) const { return 1.0f / x; }
};
struct Abs {
  __device__ float value(float x) const { return fabsf(x); }
  __device__ float slope(float x) const { return x != 0.0f ? copysignf(1.0f, x) : 0.0f; }
};
struct Square {
  __device__ float value(float x) const { return x * x; }
  __device__ float slope(float x) const { return x + x; }
};
struct Sqrt {
  __device__ float value(float x) const { return sqrtf(x); }
  __device__ float slope(float x) const { return 0.5f / sqrtf(x); }
};
struct Reciprocal {
  __device__ float value(float x) const { return 1.0f / x; }
  __device__ float slope(float x) const { return -1.0f / (x * x); }
};
struct Clamp {
  float low, high;
  __device__ float value(float x) const { return x < low ? low : x > high ? high : x; }
  __device__ float slope(float x) const { return x >= low && x <= high ? 1.0f : 0.0f; }
};

// y = f(x), or y = dy·f'(x) when dy is given.
template <class T, int n, class F>
__global__ void unary_kernel(T* y, const T* dy, const T* x, int64_t count, F f) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * n;
  if (i + n <= count) {
    const Vector<T, n> vx = load_vector<n>(x + i);
    Vector<T, n> out;
    if (dy) {
      const Vector<T, n> vdy = load_vector<n>(dy + i);
#pragma unroll
      for (int k = 0; k < n; ++k) out.v[k] = from_float<T>(to_float(vdy.v[k]) * f.slope(to_float(vx.v[k])));
    } else {
#pragma unroll
      for (int k = 0; k < n; ++k) out.v[k] = from_float<T>(f.value(to_float(vx.v[k])));
    }
    store_vector(y + i, out);
  } else {
    for (int64_t j = i; j < count; ++j)
      y[j] = from_float<T>(dy ? to_float(dy[j]) * f.slope(to_float(x[j])) : f.value(to_float(x[j])));
  }
}

// ---------------------------------------------------------------------------------------------------------------------------

// Calls g with the function object of `op`.
template <class G>
void dispatch_unary(UnaryOp op, float p0, float p1, G&& g) {
  switch (op) {
    case UnaryOp::Silu: return g(Silu{});
    case UnaryOp::Gelu: return g(Gelu{});
    case UnaryOp::GeluErf: return g(GeluErf{});
    case UnaryOp::Relu: return g(LeakyRelu{0.0f});
    case UnaryOp::LeakyRelu: return g(LeakyRelu{p0});
    case UnaryOp::Tanh: return g(Tanh{});
    case UnaryOp::Sigmoid: return g(Sigmoid{});
    case UnaryOp::Exp: return g(Exp{});
    case UnaryOp::Log: return g(Log{});
    case UnaryOp::Abs: return g(Abs{});
    case UnaryOp::Square: return g(Square{});
    case UnaryOp::Sqrt: return g(Sqrt{});
    case UnaryOp::Reciprocal: return g(Reciprocal{});
    case UnaryOp::Clamp: return g(Clamp{p0, p1});
  }
}

void run_unary(const char* name, Ref y_ref, CRef dy_ref, CRef x_ref, UnaryOp op, float p0, float p1, int64_t count,
               cudaStream_t stream) {
  dispatch_float(y_ref.dtype, name, [&](auto tag) {
    using T = decltype(tag);
    T* y = as<T>(y_ref, name);
    const T *dy = as<T>(dy_ref, name), *x = as<T>(x_ref, name);
    dispatch_unary(op, p0, p1, [&](auto f) {
      with_vectors<T>(aligned(y, dy, x), [&](auto width) {
        constexpr int n = decltype(width)::value;
        launch(name, unary_kernel<T, n, decltype(f)>, elementwise_shape(count, n), stream, y, dy, x, count, f);
      });
    });
  });
}

}  // namespace

void CudaBackend::unary(const UnaryArgs& args) {
  run_unary("unary", args.y, {}, args.x, args.op, args.p0, args.p1, args.count, stream());
}

void CudaBackend::unary_backward(const UnaryBackwardArgs& args) {
  run_unary("unary_backward", args.dx, args.dy, args.x, args.op, args.p0, args.p1, args.count, stream());
}

}  // namespace star
