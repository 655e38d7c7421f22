// Group normalisation of NHWC images with SiLU behind it when asked, forward and backward. Sums over pixels run in two passes:
// over ranges of pixels for each channel, so that a single large image fills the GPU, then over ranges and channels of a group.
#include "cuda/columns.h"
#include "cuda/cuda_backend.h"
#include "cuda/device/activation.cuh"
#include "cuda/dispatch.h"
#include "cuda/rows.h"

namespace star {

namespace {

// (n, hw, c) cut for blocks: one for each sample, range of pixels and tile of channels.
struct GroupNormShape {
  int64_t n, hw, c, groups, width;  // width: channels of a group
  ColumnTile tile;
  RowRanges ranges;  // of one sample

  __device__ __forceinline__ int64_t sample() const { return tile.item() / ranges.count; }
  __device__ __forceinline__ int64_t begin() const { return tile.item() % ranges.count * ranges.length; }
  __device__ __forceinline__ int64_t end() const { return begin() + length(tile.item() % ranges.count); }
  __device__ __forceinline__ int64_t length(int64_t range) const {
    return hw - range * ranges.length < ranges.length ? hw - range * ranges.length : ranges.length;
  }
};

// What a thread knows about its channels.
template <int n>
struct ChannelValues {
  Floats<n> of_group;
  // values (samples, groups)
  __device__ __forceinline__ void load(const float* values, const GroupNormShape& s, int64_t channel) {
    for (int j = 0; j < n; ++j) of_group.v[j] = values[s.sample() * s.groups + (channel + j) / s.width];
  }
};

// offsets and squares (samples, ranges, c): the mean over the range, from the channel's value at the range's first pixel, and
// Σ (x − mean)². Distances from that value are small beside the values themselves, so nothing cancels far from zero.
template <class T, int kN>
__global__ __launch_bounds__(kColumnThreads, 3) void group_norm_moments_kernel(float* offsets, float* squares, const T* x,
                                                                               GroupNormShape s) {
  const ColumnPlace place(s.tile, kN, s.c);
  Floats<2 * kN> sums;  // Σ distance, Σ distance²
  for (int j = 0; j < 2 * kN; ++j) sums.v[j] = 0.0f;
  if (place.active) {
    const T* pixels = x + s.sample() * s.hw * s.c + place.col;
    const Floats<kN> first = load_floats<kN>(pixels + s.begin() * s.c);
    each_row<4>(
        s.begin() + place.row, s.end(), s.tile.rows(), [&](int64_t p) { return load_vector<kN>(pixels + p * s.c); },
        [&](const Vector<T, kN>& raw, int64_t) {
          const Floats<kN> v = to_floats(raw);
          for (int j = 0; j < kN; ++j) {
            const float distance = v.v[j] - first.v[j];
            sums.v[j] += distance;
            sums.v[kN + j] += distance * distance;
          }
        });
  }
  join_tile_rows(sums, s.tile, place, JoinSum());
  if (!place.active || place.row != 0) return;
  const float count = static_cast<float>(s.end() - s.begin());
  Floats<kN> offset, square;
  for (int j = 0; j < kN; ++j) {
    offset.v[j] = sums.v[j] / count;
    square.v[j] = fmaxf(0.0f, sums.v[kN + j] - sums.v[j] * offset.v[j]);
  }
  store_floats<kN>(offsets + s.tile.item() * s.c + place.col, offset);
  store_floats<kN>(squares + s.tile.item() * s.c + place.col, square);
}

constexpr int kGroupThreads = 128;

// f(place in an array (samples, ranges, c), range, channel) for this thread's share of a sample and group.
template <class F>
__device__ __forceinline__ void each_of_group(const GroupNormShape& s, int64_t sample, int64_t group, F f) {
  const int64_t count = s.ranges.count * s.width;
  for (int64_t i = threadIdx.x; i < count; i += kGroupThreads) {
    const int64_t range = i / s.width, channel = group * s.width + i % s.width;
    f((sample * s.ranges.count + range) * s.c + channel, range, channel);
  }
}

// A block for each sample and group. Means are joined as distances from the group's first value.
template <class T>
__global__ __launch_bounds__(kGroupThreads) void group_norm_statistics_kernel(float* mean, float* rstd, const float* offsets,
                                                                              const float* squares, const T* x, GroupNormShape s,
                                                                              float eps) {
  const int64_t sample = blockIdx.x / s.groups, group = blockIdx.x % s.groups;
  const float count = static_cast<float>(s.hw * s.width);
  const T* pixels = x + sample * s.hw * s.c;
  const float origin = to_float(pixels[group * s.width]);
  const auto distance = [&](int64_t at, int64_t range, int64_t channel) {
    return to_float(pixels[range * s.ranges.length * s.c + channel]) - origin + offsets[at];
  };
  float sum = 0.0f;
  each_of_group(s, sample, group, [&](int64_t at, int64_t range, int64_t channel) {
    sum += distance(at, range, channel) * static_cast<float>(s.length(range));
  });
  const float offset = block_sum<kGroupThreads>(sum) / count;
  float total = 0.0f;
  each_of_group(s, sample, group, [&](int64_t at, int64_t range, int64_t channel) {
    const float from_mean = distance(at, range, channel) - offset;
    total += squares[at] + from_mean * from_mean * static_cast<float>(s.length(range));
  });
  const float variance = block_sum<kGroupThreads>(total) / count;
  if (threadIdx.x == 0) {
    mean[blockIdx.x] = origin + offset;
    rstd[blockIdx.x] = 1.0f / sqrtf(variance + eps);
  }
}

template <class T, int kN, bool kSilu>
__global__ __launch_bounds__(kColumnThreads) void group_norm_kernel(T* y, const T* x, const float* mean, const float* rstd,
                                                                    const T* weight, const T* bias, GroupNormShape s) {
  const ColumnPlace place(s.tile, kN, s.c);
  if (!place.active) return;
  ChannelValues<kN> m, r;
  m.load(mean, s, place.col);
  r.load(rstd, s, place.col);
  Floats<kN> slope = load_floats<kN>(weight + place.col);
  const Floats<kN> offset = load_floats<kN>(bias + place.col);
  for (int j = 0; j < kN; ++j) slope.v[j] *= r.of_group.v[j];
  const int64_t sample = s.sample() * s.hw * s.c + place.col;
  each_row<4>(
      s.begin() + place.row, s.end(), s.tile.rows(), [&](int64_t p) { return load_vector<kN>(x + sample + p * s.c); },
      [&](const Vector<T, kN>& raw, int64_t p) {
        Floats<kN> v = to_floats(raw);
        for (int j = 0; j < kN; ++j) {
          const float z = (v.v[j] - m.of_group.v[j]) * slope.v[j] + offset.v[j];
          v.v[j] = kSilu ? silu(z) : z;
        }
        store_floats<kN>(y + sample + p * s.c, v);
      });
}

// One vector of x and one of dy, as they lie in memory.
template <class T, int n>
struct Pair {
  Vector<T, n> x, dy;
};

// What both sweeps of the backward know about a thread's channels: n = (x − mean)·rstd and dz, the gradient behind the affine
// map.
template <class T, int kN, bool kSilu>
struct GroupNormChannels {
  Floats<kN> weight, bias;
  ChannelValues<kN> mean, rstd;

  __device__ __forceinline__ void load(const float* means, const float* rstds, const T* weights, const T* biases,
                                       const GroupNormShape& s, int64_t channel) {
    mean.load(means, s, channel);
    rstd.load(rstds, s, channel);
    weight = load_floats<kN>(weights + channel);
    if (kSilu) bias = load_floats<kN>(biases + channel);
  }
  __device__ __forceinline__ float normalized(float x, int j) const { return (x - mean.of_group.v[j]) * rstd.of_group.v[j]; }
  __device__ __forceinline__ float gradient(float dy, float n, int j) const {
    return kSilu ? dy * silu_slope(n * weight.v[j] + bias.v[j]) : dy;
  }
};

// sums and products (samples, ranges, c): Σ dz and Σ dz·n over the pixels of a range.
template <class T, int kN, bool kSilu>
__global__ __launch_bounds__(kColumnThreads, 2) void group_norm_gradient_sums_kernel(float* sums, float* products, const T* dy,
                                                                                     const T* x, const float* mean,
                                                                                     const float* rstd, const T* weight,
                                                                                     const T* bias, GroupNormShape s) {
  const ColumnPlace place(s.tile, kN, s.c);
  Floats<2 * kN> total;
  for (int j = 0; j < 2 * kN; ++j) total.v[j] = 0.0f;
  if (place.active) {
    GroupNormChannels<T, kN, kSilu> channels;
    channels.load(mean, rstd, weight, bias, s, place.col);
    const int64_t sample = s.sample() * s.hw * s.c + place.col;
    each_row<2>(
        s.begin() + place.row, s.end(), s.tile.rows(),
        [&](int64_t p) -> Pair<T, kN> {
          return {load_vector<kN>(x + sample + p * s.c), load_vector<kN>(dy + sample + p * s.c)};
        },
        [&](const Pair<T, kN>& raw, int64_t) {
          const Floats<kN> v = to_floats(raw.x), g = to_floats(raw.dy);
          for (int j = 0; j < kN; ++j) {
            const float n = channels.normalized(v.v[j], j), dz = channels.gradient(g.v[j], n, j);
            total.v[j] += dz;
            total.v[kN + j] += dz * n;
          }
        });
  }
  join_tile_rows(total, s.tile, place, JoinSum());
  if (!place.active || place.row != 0) return;
  for (int j = 0; j < kN; ++j) {
    sums[s.tile.item() * s.c + place.col + j] = total.v[j];
    products[s.tile.item() * s.c + place.col + j] = total.v[kN + j];
  }
}

// along and across (samples, groups): the means of dz·weight and dz·weight·n over a group.
template <class T>
__global__ __launch_bounds__(kGroupThreads) void group_norm_gradient_means_kernel(float* along, float* across, const float* sums,
                                                                                  const float* products, const T* weight,
                                                                                  GroupNormShape s) {
  const int64_t sample = blockIdx.x / s.groups, group = blockIdx.x % s.groups;
  float a = 0.0f, b = 0.0f;
  each_of_group(s, sample, group, [&](int64_t at, int64_t, int64_t channel) {
    const float w = to_float(weight[channel]);
    a += w * sums[at];
    b += w * products[at];
  });
  block_sum2<kGroupThreads>(a, b);
  if (threadIdx.x == 0) {
    const float count = static_cast<float>(s.hw * s.width);
    along[blockIdx.x] = a / count;
    across[blockIdx.x] = b / count;
  }
}

// dx = rstd·(dz·weight − along − n·across).
template <class T, int kN, bool kSilu>
__global__ __launch_bounds__(kColumnThreads) void group_norm_backward_kernel(T* dx, const T* dy, const T* x, const float* mean,
                                                                             const float* rstd, const T* weight, const T* bias,
                                                                             const float* along, const float* across,
                                                                             GroupNormShape s) {
  const ColumnPlace place(s.tile, kN, s.c);
  if (!place.active) return;
  GroupNormChannels<T, kN, kSilu> channels;
  channels.load(mean, rstd, weight, bias, s, place.col);
  ChannelValues<kN> a, b;
  a.load(along, s, place.col);
  b.load(across, s, place.col);
  const int64_t sample = s.sample() * s.hw * s.c + place.col;
  each_row<2>(
      s.begin() + place.row, s.end(), s.tile.rows(),
      [&](int64_t p) -> Pair<T, kN> {
        return {load_vector<kN>(x + sample + p * s.c), load_vector<kN>(dy + sample + p * s.c)};
      },
      [&](const Pair<T, kN>& raw, int64_t p) {
        const Floats<kN> v = to_floats(raw.x);
        Floats<kN> g = to_floats(raw.dy);
        for (int j = 0; j < kN; ++j) {
          const float n = channels.normalized(v.v[j], j), dz = channels.gradient(g.v[j], n, j);
          g.v[j] = channels.rstd.of_group.v[j] * (dz * channels.weight.v[j] - a.of_group.v[j] - n * b.of_group.v[j]);
        }
        store_floats<kN>(dx + sample + p * s.c, g);
      });
}

// ----------------------------------------------------------------------------------------------------------------------------

template <class Args>
GroupNormShape group_norm_shape(const Args& a, int vector) {
  const ColumnTile tile = column_tile(a.c, vector);
  return {a.n, a.hw, a.c, a.groups, a.c / a.groups, tile, row_ranges(a.hw, tile, 8, 256)};
}

LaunchShape pixel_blocks(const GroupNormShape& s) { return column_shape(s.n * s.ranges.count, s.tile); }
LaunchShape group_blocks(const GroupNormShape& s) { return {dim3(blocks_for(s.n * s.groups, 1)), dim3(kGroupThreads)}; }

template <class F>
void with_bool(bool value, F&& f) {
  if (value)
    f(std::true_type());
  else
    f(std::false_type());
}

}  // namespace

void CudaBackend::group_norm(const GroupNormArgs& a) {
  const char* op = "group_norm";
  if (a.n * a.hw * a.c == 0) return;
  dispatch_float(a.x.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    T* y = as<T>(a.y, op);
    const T *x = as<T>(a.x, op), *weight = as<T>(a.weight, op), *bias = as<T>(a.bias, op);
    float *mean = a.mean.f32(), *rstd = a.rstd.f32();
    with_vectors<T>(a.c % kVector<T> == 0 && aligned(y, x, weight, bias), [&](auto vector) {
      constexpr int kN = decltype(vector)::value;
      const GroupNormShape s = group_norm_shape(a, kN);
      const int64_t sums = a.n * s.ranges.count * a.c;
      {
        const Scratch scratch(*this, static_cast<size_t>(2 * sums) * sizeof(float));
        float *offsets = scratch.as<float>(), *squares = offsets + sums;
        launch(op, group_norm_moments_kernel<T, kN>, pixel_blocks(s), stream(), offsets, squares, x, s);
        launch(op, group_norm_statistics_kernel<T>, group_blocks(s), stream(), mean, rstd, offsets, squares, x, s, a.eps);
      }
      with_bool(a.silu, [&](auto silu) {
        launch(op, group_norm_kernel<T, kN, decltype(silu)::value>, pixel_blocks(s), stream(), y, x, mean, rstd, weight, bias, s);
      });
    });
  });
}

void CudaBackend::group_norm_backward(const GroupNormBackwardArgs& a) {
  const char* op = "group_norm_backward";
  dispatch_float(a.x.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    T* dx = as<T>(a.dx, op);
    const T *dy = as<T>(a.dy, op), *x = as<T>(a.x, op), *weight = as<T>(a.weight, op), *bias = as<T>(a.bias, op);
    const float *mean = a.mean.f32(), *rstd = a.rstd.f32();
    if (a.c == 0) return;
    with_vectors<T>(a.c % kVector<T> == 0 && aligned(dx, dy, x, weight, bias), [&](auto vector) {
      constexpr int kN = decltype(vector)::value;
      const GroupNormShape s = group_norm_shape(a, kN);
      const int64_t ranges = a.hw == 0 ? 0 : a.n * s.ranges.count, sums = ranges * a.c, means = a.n * a.groups;
      const Scratch scratch(*this, static_cast<size_t>(2 * (sums + means)) * sizeof(float));
      float *dz = scratch.as<float>(), *dz_n = dz + sums, *along = dz_n + sums, *across = along + means;
      with_bool(a.silu, [&](auto silu) {
        constexpr bool kSilu = decltype(silu)::value;
        if (ranges > 0)
          launch(op, group_norm_gradient_sums_kernel<T, kN, kSilu>, pixel_blocks(s), stream(), dz, dz_n, dy, x, mean, rstd,
                 weight, bias, s);
        if (a.dbias) sum_over_rows(*this, op, a.dbias, dz, 1, ranges, a.c);
        if (a.dweight) sum_over_rows(*this, op, a.dweight, dz_n, 1, ranges, a.c);
        if (!dx || ranges == 0) return;
        launch(op, group_norm_gradient_means_kernel<T>, group_blocks(s), stream(), along, across, dz, dz_n, weight, s);
        launch(op, group_norm_backward_kernel<T, kN, kSilu>, pixel_blocks(s), stream(), dx, dy, x, mean, rstd, weight, bias,
               along, across, s);
      });
    });
  });
}

}  // namespace star
