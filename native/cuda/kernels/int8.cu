// Rows in 8 bits with a scale each, one block a row: there, back, and what a product of two such matrices is worth.
#include "cuda/device/activation.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/dispatch.h"
#include "cuda/elementwise.h"
#include "cuda/int8.h"
#include "cuda/launch.h"

namespace star {

namespace {

constexpr int kRowThreads = 256;

template <class T>
__global__ void __launch_bounds__(kRowThreads) quantize_rows_kernel(int8_t* q, float* scale, const T* x, int64_t cols) {
  x += static_cast<int64_t>(blockIdx.x) * cols;
  q += static_cast<int64_t>(blockIdx.x) * cols;
  float largest = 0.0f, strange = 0.0f;  // `strange` becomes NaN where an element is no finite number
  for (int64_t c = threadIdx.x; c < cols; c += kRowThreads) {
    const float v = to_float(x[c]);
    largest = fmaxf(largest, fabsf(v));
    strange += v * 0.0f;
  }
  largest = block_max<kRowThreads>(largest);
  strange = block_sum<kRowThreads>(strange);
  const bool finite = strange == 0.0f, usable = finite && largest >= kSmallestRow;
  if (threadIdx.x == 0) scale[blockIdx.x] = usable ? largest / 127.0f : strange;
  const float factor = usable ? 127.0f / largest : 0.0f;
  for (int64_t c = threadIdx.x; c < cols; c += kRowThreads)
    q[c] = static_cast<int8_t>(usable ? __float2int_rn(to_float(x[c]) * factor) : 0);
}

template <class T>
__global__ void __launch_bounds__(kRowThreads) dequantize_rows_kernel(T* x, const int8_t* q, const float* scale, int64_t cols) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * cols;
  const float factor = scale[blockIdx.x];
  for (int64_t c = threadIdx.x; c < cols; c += kRowThreads) x[row + c] = from_float<T>(static_cast<float>(q[row + c]) * factor);
}

// n is a multiple of width.
template <class T, int width, bool activate>
__global__ void __launch_bounds__(kRowThreads)
    scale_sums_kernel(T* y, const int32_t* sums, const float* xscale, const float* __restrict__ wscale,
                      const T* __restrict__ bias, int64_t n) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * n;
  const float factor = xscale[blockIdx.x];
  for (int64_t c = static_cast<int64_t>(threadIdx.x) * width; c < n; c += int64_t{kRowThreads} * width) {
    const Vector<int32_t, width> in = load_vector<width>(sums + row + c);
    Vector<T, width> out;
#pragma unroll
    for (int i = 0; i < width; ++i) {
      const float v = static_cast<float>(in.v[i]) * factor * wscale[c + i] + (bias ? to_float(bias[c + i]) : 0.0f);
      out.v[i] = from_float<T>(activate ? gelu(v) : v);
    }
    store_vector<width>(y + row + c, out);
  }
}

// -----------------------------------------------------------------------------------------------------------------------------

LaunchShape block_a_row(int64_t rows) { return {dim3(blocks_for(rows, 1)), dim3(kRowThreads)}; }

}  // namespace

void scale_sums(CudaBackend& backend, const ScaleSumsArgs& a) {
  const char* op = "linear_int8";
  dispatch_float(a.y.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    const bool vectors = a.n % 4 == 0 && aligned(a.y.data, a.sums.data);
    const auto kernel = a.gelu ? (vectors ? scale_sums_kernel<T, 4, true> : scale_sums_kernel<T, 1, true>)
                               : (vectors ? scale_sums_kernel<T, 4, false> : scale_sums_kernel<T, 1, false>);
    launch(op, kernel, block_a_row(a.rows), backend.stream(), as<T>(a.y, op), a.sums.i32(), a.xscale.f32(), a.wscale.f32(),
           as<T>(a.bias, op), a.n);
  });
}

void CudaBackend::quantize_rows(const QuantizeRowsArgs& a) {
  const char* op = "quantize_rows";
  dispatch_float(a.x.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    launch(op, quantize_rows_kernel<T>, block_a_row(a.rows), stream(), a.q.i8(), a.scale.f32(), as<T>(a.x, op), a.cols);
  });
}

void CudaBackend::dequantize_rows(const DequantizeRowsArgs& a) {
  const char* op = "dequantize_rows";
  dispatch_float(a.x.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    launch(op, dequantize_rows_kernel<T>, block_a_row(a.rows), stream(), as<T>(a.x, op), a.q.i8(), a.scale.f32(), a.cols);
  });
}

}  // namespace star
