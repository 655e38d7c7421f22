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

// What output i of an axis is made of. Bicubic: Σ weight[k]·input[first + k], inputs clamped to the axis. Area: weight[0] is that
// of each input of its bin.
struct Taps {
  int first;
  float weight[4];
};

// One axis: `in` and `out` are the forward's sizes, in the backward too.
struct Axis {
  unsigned in, out;
  const Taps* taps;  // (out), not for nearest
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
    // In 32 bits, which products of two sides fit: a division in 64 is a call, and registers are spilled around it.
    const int in = static_cast<int>(a.in), out = static_cast<int>(a.out);
    const auto output_at = [&](int twice_input) {
      return twice_input > 0 ? static_cast<int>(static_cast<unsigned>(twice_input) * a.out / (2 * a.in)) : 0;
    };
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
    return a.taps[backward ? from : to].weight[0];
  } else if constexpr (backward) {
    const Taps taps = a.taps[from];
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
template <Resample kind>
__global__ void resample_taps_kernel(Taps* taps, Axis rows, Axis columns) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= rows.out + columns.out) return;
  const Axis& axis = i < rows.out ? rows : columns;
  const unsigned output = i < rows.out ? i : i - rows.out;
  Taps t{};
  if constexpr (kind == Resample::Area) {
    const Span inputs = bin(output, axis.in, axis.out);
    t.weight[0] = 1.0f / static_cast<float>(inputs.end - inputs.begin);
  } else {
    const double center = (output + 0.5) * static_cast<double>(axis.in) / static_cast<double>(axis.out) - 0.5;
    const double low = floor(center);
    t.first = static_cast<int>(low) - 1;
#pragma unroll
    for (int k = 0; k < 4; ++k) t.weight[k] = static_cast<float>(cubic(center - (low + static_cast<double>(k - 1))));
  }
  taps[i] = t;
}

// to (n, targets of rows, targets of columns, c) from `from` (n, sources of rows, sources of columns, c): `across` blocks for
// each line of targets, a thread takes n channels of a pixel.
template <class T, Resample kind, bool backward, int n>
__global__ void __launch_bounds__(kThreads)
    resample_gather_kernel(T* to, const T* from, Axis rows, Axis columns, int c, unsigned across) {
  const unsigned target_rows = backward ? rows.in : rows.out, target_columns = backward ? columns.in : columns.out;
  const unsigned source_rows = backward ? rows.out : rows.in, source_columns = backward ? columns.out : columns.in;
  const int vectors = c / n;
  const unsigned target_line = blockIdx.x / across;
  const int64_t e = static_cast<int64_t>(blockIdx.x % across) * kThreads + threadIdx.x;
  if (e >= static_cast<int64_t>(target_columns) * vectors) return;
  const int x = static_cast<int>(static_cast<unsigned>(e) / static_cast<unsigned>(vectors));
  const int channel = static_cast<int>(e - static_cast<int64_t>(x) * vectors) * n;
  const int y = static_cast<int>(target_line % target_rows);
  const T* image = from + static_cast<int64_t>(target_line / target_rows) * source_rows * source_columns * c + channel;
  // Asked for where it is needed, so that it takes no registers from the loop.
  const auto out = [&] { return to + (static_cast<int64_t>(blockIdx.x / across) * target_columns + x) * c + channel; };
  const Span ys = span_of<kind, backward>(rows, y), xs = span_of<kind, backward>(columns, x);
  if constexpr (kind == Resample::Nearest2x && !backward) {
    store_vector(out(), load_vector<n>(image + (static_cast<int64_t>(ys.begin) * source_columns + xs.begin) * c));
    return;
  }
  float sum[n] = {};
  for (int sy = ys.begin; sy < ys.end; ++sy) {
    const float row_weight = weight_of<kind, backward>(rows, y, sy);
    if (row_weight == 0.0f) continue;
    const T* line = image + static_cast<int64_t>(clamp_to(sy, source_rows)) * source_columns * c;
#pragma unroll 1  // more would spill registers
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
  store_vector(out(), result);
}

// ---------------------------------------------------------------------------------------------------------------------------

struct Sizes {
  int64_t n, h, w, c, oh, ow;
};

template <Resample kind, bool backward>
void gather(CudaBackend& backend, const char* op, Ref to, CRef from, const Sizes& s) {
  constexpr bool tapped = kind != Resample::Nearest2x;
  Scratch scratch(backend, tapped ? static_cast<size_t>(s.oh + s.ow) * sizeof(Taps) : 0);
  Taps* taps = scratch.as<Taps>();
  const Axis rows{static_cast<unsigned>(s.h), static_cast<unsigned>(s.oh), taps};
  const Axis columns{static_cast<unsigned>(s.w), static_cast<unsigned>(s.ow), taps + s.oh};
  if constexpr (tapped)
    launch(op, resample_taps_kernel<kind>, elementwise_shape(s.oh + s.ow, 1), backend.stream(), taps, rows, columns);
  const int64_t lines = s.n * (backward ? s.h : s.oh), columns_to = backward ? s.w : s.ow;
  dispatch_float(from.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    T* y = as<T>(to, op);
    const T* x = as<T>(from, op);
    with_vectors<T>(s.c % kVector<T> == 0 && aligned(y, x), [&](auto n) {
      const unsigned across = blocks_for(columns_to * (s.c / n), kThreads);
      launch(op, resample_gather_kernel<T, kind, backward, n>, {dim3(blocks_for(lines * across, 1)), dim3(kThreads)},
             backend.stream(), y, x, rows, columns, static_cast<int>(s.c), across);
    });
  });
}

template <bool backward>
void resample_as(CudaBackend& backend, const char* op, Ref to, CRef from, Resample kind, const Sizes& s) {
  if (std::max({s.h, s.w, s.oh, s.ow}) > kLongestSide || s.w * s.c > INT32_MAX || s.ow * s.c > INT32_MAX)
    fail(ErrorCode::Shape, "%s: %lldx%lld to %lldx%lld of %lld channels, expected sides up to %lld", op,
         static_cast<long long>(s.h), static_cast<long long>(s.w), static_cast<long long>(s.oh), static_cast<long long>(s.ow),
         static_cast<long long>(s.c), static_cast<long long>(kLongestSide));
  switch (kind) {
    case Resample::Nearest2x: return gather<Resample::Nearest2x, backward>(backend, op, to, from, s);
    case Resample::Area: return gather<Resample::Area, backward>(backend, op, to, from, s);
    case Resample::Bicubic: return gather<Resample::Bicubic, backward>(backend, op, to, from, s);
  }
}

}  // namespace

void CudaBackend::resample(const ResampleArgs& a) {
  resample_as<false>(*this, "resample", a.y, a.x, a.kind, {a.n, a.h, a.w, a.c, a.oh, a.ow});
}

void CudaBackend::resample_backward(const ResampleBackwardArgs& a) {
  resample_as<true>(*this, "resample_backward", a.dx, a.dy, a.kind, {a.n, a.h, a.w, a.c, a.oh, a.ow});
}

}  // namespace star
