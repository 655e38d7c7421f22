// Softmax over rows, forward and backward: each row is read once.
#include "cuda/cuda_backend.h"
#include "cuda/dispatch.h"
#include "cuda/rows.h"

namespace star {

namespace {

template <class T, class Layout>
__global__ __launch_bounds__(Layout::kBlock) void softmax_kernel(T* y, const T* x, int64_t rows, int cols, float scale) {
  constexpr int kN = Layout::kN;
  const int64_t row = Layout::row();
  if (row >= rows) return;
  RowValues<T, Layout> values;
  values.load(x + row * cols, cols);
  float largest = -INFINITY;
  Layout::each(cols, [&](int part, int col) {
    const Floats<kN> a = values.get(part, col);
    for (int j = 0; j < kN; ++j) largest = fmaxf(largest, scale * a.v[j]);
  });
  largest = Layout::max(largest);
  float total = 0.0f;
  Layout::each(cols, [&](int part, int col) {
    const Floats<kN> a = values.get(part, col);
    for (int j = 0; j < kN; ++j) total += expf(scale * a.v[j] - largest);
  });
  const float factor = 1.0f / Layout::sum(total);
  Layout::each(cols, [&](int part, int col) {
    Floats<kN> a = values.get(part, col);
    for (int j = 0; j < kN; ++j) a.v[j] = factor * expf(scale * a.v[j] - largest);
    store_floats<kN>(y + row * cols + col, a);
  });
}

template <class T, class Layout>
__global__ __launch_bounds__(Layout::kBlock) void softmax_backward_kernel(T* dx, const T* dy, const T* y, int64_t rows, int cols,
                                                                          float scale) {
  constexpr int kN = Layout::kN;
  const int64_t row = Layout::row();
  if (row >= rows) return;
  RowValues<T, Layout> gradients, values;
  gradients.load(dy + row * cols, cols);
  values.load(y + row * cols, cols);
  float dot = 0.0f;
  Layout::each(cols, [&](int part, int col) {
    const Floats<kN> g = gradients.get(part, col), p = values.get(part, col);
    for (int j = 0; j < kN; ++j) dot += g.v[j] * p.v[j];
  });
  dot = Layout::sum(dot);
  Layout::each(cols, [&](int part, int col) {
    Floats<kN> g = gradients.get(part, col);
    const Floats<kN> p = values.get(part, col);
    for (int j = 0; j < kN; ++j) g.v[j] = scale * p.v[j] * (g.v[j] - dot);
    store_floats<kN>(dx + row * cols + col, g);
  });
}

}  // namespace

// ----------------------------------------------------------------------------------------------------------------------------

void CudaBackend::softmax(const SoftmaxArgs& a) {
  const int cols = checked_cols(a.cols, "softmax");
  if (cols == 0) return;
  dispatch_float(a.x.dtype, "softmax", [&](auto tag) {
    using T = decltype(tag);
    T* y = as<T>(a.y, "softmax");
    const T* x = as<T>(a.x, "softmax");
    with_rows<T>(cols, cols % kVector<T> == 0 && aligned(y, x), [&](auto layout) {
      using Layout = decltype(layout);
      launch("softmax", softmax_kernel<T, Layout>, row_shape<Layout>(a.rows), stream(), y, x, a.rows, cols, a.scale);
    });
  });
}

void CudaBackend::softmax_backward(const SoftmaxBackwardArgs& a) {
  const int cols = checked_cols(a.cols, "softmax_backward");
  if (cols == 0) return;
  dispatch_float(a.y.dtype, "softmax_backward", [&](auto tag) {
    using T = decltype(tag);
    T* dx = as<T>(a.dx, "softmax_backward");
    const T *dy = as<T>(a.dy, "softmax_backward"), *y = as<T>(a.y, "softmax_backward");
    with_rows<T>(cols, cols % kVector<T> == 0 && aligned(dx, dy, y), [&](auto layout) {
      using Layout = decltype(layout);
      launch("softmax_backward", softmax_backward_kernel<T, Layout>, row_shape<Layout>(a.rows), stream(), dx, dy, y, a.rows, cols,
             a.scale);
    });
  });
}

}  // namespace star
