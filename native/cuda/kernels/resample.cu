// Resampling of NHWC images. Every kind is a separable linear map: along each axis a target is a weighted sum of the sources of
// a span. A backward is the same gather with the map transposed, so that it needs no atomics and has one order of additions.
#include <algorithm>

#include "cuda/cuda_backend.h"
#include "cuda/device/element.cuh"
#include "cuda/dispatch.h"
#include "cuda/elementwise.h"

namespace star {

namespace {

constexpr int kThreads = 128;
constexpr int64_t kLongestSide = 32768;  // products of two sides fit 32 bits

// Output i of a bicubic axis is Σ weight[k]·input[first + k], inputs clamped to the axis.
struct CubicTaps {
  int first;
  float weight[4];
};

// One axis: `in` and `out` are the forward's sizes, in the backward too.
struct Axis {
  unsigned in, out;
  const CubicTaps* taps;  // (out), bicubic only
};

struct Span {
  int begin, end;
};

// Bin i of the adaptive pooling of `from` elements to `to`.
__device__ __forceinline__ Span bin(unsigned i, unsigned from, unsigned to) {
  return {static_cast<int>(i * from / to), static_cast<int>(((i + 1) * from + to - 1) / to)};
}

// The sources of target i. A forward's bicubic span may stick out of the axis; a backward's holds every output that uses input i
// and perhaps some that don't.
template <Resample kind, bool backward>
__device__ __forceinline__ Span span_of(const Axis& a, int i) {
  if constexpr (kind == Resample::Nearest2x) {
    return backward ? Span{2 * i, 2 * i + 2} : Span{i / 2, i / 2 + 1};
  } else if constexpr (kind == Resample::Area) {
    // Output o covers input i when floor(o·in/out) ≤ i < ceil((o + 1)·in/out): these are the outputs of bin i of the reverse map.
    return backward ? bin(i, a.out, a.in) : bin(i, a.in, a.out);
  } else if constexpr (backward) {
    // The center of an output that uses i lies in [i − 2, i + 2); at the borders all centers beyond count.
    const int in = static_cast<int>(a.in), out = static_cast<int>(a.out);
    const auto output_at = [&](int twice_input) { return static_cast<int>(static_cast<int64_t>(twice_input) * out / (2 * in)); };
    const int begin = i == 0 ? 0 : output_at(2 * i - 3) - 2, end = i == in - 1 ? out : output_at(2 * i + 5) + 2;
    return {begin > 0 ? begin : 0, end < out ? end : out};
  } else {
    const int first = a.taps[i].first;
    return {first, first + 4};
  }
}

__device__ __forceinline__ int clamp_to(int i, unsigned size) {
  return i < 0 ? 0 : i < static_cast<int>(size) ? i : static_cast<int>(size) - 1;
}

// The weight of source `from` of target `to`.
template <Resample kind, bool backward>
__device__ __forceinline__ float weight_of(const Axis& a, int to, int from) {
  if constexpr (kind == Resample::Nearest2x) {
    return 1.0f;
  } else if constexpr (kind == Resample::Area) {
    const Span bins = bin(backward ? from : to, a.in, a.out);
    return 1.0f / static_cast<float>(bins.end - bins.begin);
  } else if constexpr (backward) {
    const CubicTaps taps = a.taps[from];
    float weight = 0.0f;
#pragma unroll
    for (int k = 0; k < 4; ++k) weight += clamp_to(taps.first + k, a.in) == to ? taps.weight[k] : 0.0f;
    return weight;
  } else {
    return a.taps[to].weight[from - a.taps[to].first];
  }
}

// Cubic convolution (Keys 1981) with a = −0.75 at distance x.
__device__ double cubic(double x) {
  constexpr double a = -0.75;
  x = fabs(x);
  if (x <= 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
  return 0.0;
}

// Taps of the rows (h outputs), then of the columns.
__global__ void taps_kernel(CubicTaps* taps, Axis rows, Axis columns) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= rows.out + columns.out) return;
  const bool row = i < rows.out;
  const Axis& axis = row ? rows : columns;
  const double center =
      (static_cast<double>(row ? i : i - rows.out) + 0.5) * static_cast<double>(axis.in) / static_cast<double>(axis.out) - 0.5;
  const double low = floor(center);
  CubicTaps t;
  t.first = static_cast<int>(low) - 1;
#pragma unroll
  for (int k = 0; k < 4; ++k) t.weight[k] = static_cast<float>(cubic(center - (low + static_cast<double>(k - 1))));
  taps[i] = t;
}

// to (n, targets of rows, targets of columns, c) from `from` (n, sources of rows, sources of columns, c): blockIdx.x is a line of
// targets, a thread takes n channels of a pixel.
template <class T, Resample kind, bool backward, int n>
__global__ void __launch_bounds__(kThreads) gather_kernel(T* to, const T* from, Axis rows, Axis columns, int c) {
  const unsigned target_rows = backward ? rows.in : rows.out, target_columns = backward ? columns.in : columns.out;
  const unsigned source_rows = backward ? rows.out : rows.in, source_columns = backward ? columns.out : columns.in;
  const int vectors = c / n;
  const int64_t e = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  if (e >= static_cast<int64_t>(target_columns) * vectors) return;
  const int x = static_cast<int>(static_cast<unsigned>(e) / static_cast<unsigned>(vectors));
  const int channel = static_cast<int>(e - static_cast<int64_t>(x) * vectors) * n;
  const int y = static_cast<int>(blockIdx.x % target_rows);
  const T* image = from + static_cast<int64_t>(blockIdx.x / target_rows) * source_rows * source_columns * c + channel;
  T* out = to + (static_cast<int64_t>(blockIdx.x) * target_columns + x) * c + channel;
  const Span ys = span_of<kind, backward>(rows, y), xs = span_of<kind, backward>(columns, x);
  if constexpr (kind == Resample::Nearest2x && !backward) {
    store_vector(out, load_vector<n>(image + (static_cast<int64_t>(ys.begin) * source_columns + xs.begin) * c));
    return;
  }
  float sum[n] = {};
  for (int sy = ys.begin; sy < ys.end; ++sy) {
    const float row_weight = weight_of<kind, backward>(rows, y, sy);
    if (row_weight == 0.0f) continue;
    const T* line = image + static_cast<int64_t>(clamp_to(sy, source_rows)) * source_columns * c;
    for (int sx = xs.begin; sx < xs.end; ++sx) {
      const float weight = row_weight * weight_of<kind, backward>(columns, x, sx);
      if (weight == 0.0f) continue;
      const Vector<T, n> in = load_vector<n>(line + static_cast<int64_t>(clamp_to(sx, source_columns)) * c);
#pragma unroll
      for (int k = 0; k < n; ++k) sum[k] = fmaf(weight, to_float(in.v[k]), sum[k]);
    }
  }
  Vector<T, n> result;
#pragma unroll
  for (int k = 0; k < n; ++k) result.v[k] = from_float<T>(sum[k]);
  store_vector(out, result);
}

// ---------------------------------------------------------------------------------------------------------------------------

struct Sizes {
  int64_t n, h, w, c, oh, ow;
};

template <class T, Resample kind, bool backward>
void gather(CudaBackend& backend, const char* op, T* to, const T* from, const Sizes& s, const CubicTaps* taps) {
  const Axis rows{static_cast<unsigned>(s.h), static_cast<unsigned>(s.oh), taps};
  const Axis columns{static_cast<unsigned>(s.w), static_cast<unsigned>(s.ow), taps ? taps + s.oh : nullptr};
  const int64_t lines = s.n * (backward ? s.h : s.oh), columns_to = backward ? s.w : s.ow;
  with_vectors<T>(s.c % kVector<T> == 0 && aligned(to, from), [&](auto n) {
    launch(op, gather_kernel<T, kind, backward, n>,
           {dim3(blocks_for(lines, 1), blocks_for(columns_to * (s.c / n), kThreads)), dim3(kThreads)}, backend.stream(), to, from,
           rows, columns, static_cast<int>(s.c));
  });
}

template <bool backward>
void resample_as(CudaBackend& backend, const char* op, Ref to, CRef from, Resample kind, const Sizes& s) {
  if (std::max({s.h, s.w, s.oh, s.ow}) > kLongestSide || s.w * s.c > INT32_MAX || s.ow * s.c > INT32_MAX)
    fail(ErrorCode::Shape, "%s: %lldx%lld to %lldx%lld of %lld channels, expected sides up to %lld", op,
         static_cast<long long>(s.h), static_cast<long long>(s.w), static_cast<long long>(s.oh), static_cast<long long>(s.ow),
         static_cast<long long>(s.c), static_cast<long long>(kLongestSide));
  const bool bicubic = kind == Resample::Bicubic;
  Scratch taps(backend, bicubic ? static_cast<size_t>(s.oh + s.ow) * sizeof(CubicTaps) : 0);
  if (bicubic)
    launch(op, taps_kernel, elementwise_shape(s.oh + s.ow, 1), backend.stream(), taps.as<CubicTaps>(),
           Axis{static_cast<unsigned>(s.h), static_cast<unsigned>(s.oh), nullptr},
           Axis{static_cast<unsigned>(s.w), static_cast<unsigned>(s.ow), nullptr});
  dispatch_float(from.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    T* y = as<T>(to, op);
    const T* x = as<T>(from, op);
    switch (kind) {
      case Resample::Nearest2x: return gather<T, Resample::Nearest2x, backward>(backend, op, y, x, s, nullptr);
      case Resample::Area: return gather<T, Resample::Area, backward>(backend, op, y, x, s, nullptr);
      case Resample::Bicubic: return gather<T, Resample::Bicubic, backward>(backend, op, y, x, s, taps.as<CubicTaps>());
    }
  });
}

}  // namespace

void CudaBackend::resample(const ResampleArgs& a) {
  resample_as<false>(*this, "resample", a.y, a.x, a.kind, {a.n, a.h, a.w, a.c, a.oh, a.ow});
}

void CudaBackend::resample_backward(const ResampleBackwardArgs& a) {
  resample_as<true>(*this, "resample_backward", a.dx, a.dy, a.kind, {a.n, a.h, a.w, a.c, a.oh, a.ow});
}

}  // namespace star
