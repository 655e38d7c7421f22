// Group normalisation of NHWC images, with SiLU behind it when asked. Work is split into chunks of pixels; within a chunk the
// sums of each channel stay in registers, and chunks are joined in double, in order. Images of 16 bits are widened as they are
// read.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/group_norm.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/dnnl_support.h"
#include "cpu/half-inl.h"
#include "cpu/parallel.h"

#ifndef STAR_CPU_GROUP_NORM_TABLES_
#define STAR_CPU_GROUP_NORM_TABLES_
namespace star {
// What normalises one sample, channel by channel: n = (x − mean)·rstd, z = weight·n + bias, and for the gradient
// dx = dz·slope − drift − n·pull.
struct ChannelTables {
  const float *mean, *rstd, *weight, *bias, *slope, *drift, *pull;
};
}  // namespace star
#endif

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

// Calls f(k, n) for the channels in whole vectors and, where some are left, once for those; `load` and `store` of f take n lanes.
template <class F>
HWY_INLINE void for_channels(int64_t c, const F& f) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(F32()));
  for (int64_t k = 0; k < c; k += lanes) f(k, std::min(lanes, c - k));
}
template <class T>
HWY_INLINE V32 load_lanes(const T* x, int64_t n) {
  return n == static_cast<int64_t>(hn::Lanes(F32())) ? load_wide(x) : load_wide(x, n);
}
template <class T>
HWY_INLINE void store_lanes(V32 v, T* y, int64_t n) {
  if (n == static_cast<int64_t>(hn::Lanes(F32())))
    store_narrow(v, y);
  else
    store_narrow(v, y, n);
}

// For each channel the first pixel x₀, and Σ (x − x₀) and Σ (x − x₀)² over pixels: x₀ is near the mean, so nothing cancels. Sums
// of kRun pixels are added up, so that no sum has many terms to round.
template <class T>
HWY_INLINE void channel_sums_of(float* first, float* sums, float* squares, const T* x, int64_t pixels, int64_t c) {
  const F32 d;
  constexpr int64_t kRun = 128;
  for_channels(c, [&](int64_t k, int64_t n) HWY_ATTR {
    const V32 x0 = load_lanes(x + k, n);
    V32 sum = hn::Zero(d), square_sum = sum;
    for (int64_t begin = 1; begin < pixels; begin += kRun) {
      const int64_t end = std::min(pixels, begin + kRun);
      V32 s0 = hn::Zero(d), s1 = s0, q0 = s0, q1 = s0;
      int64_t p = begin;
      for (; p + 2 <= end; p += 2) {
        const V32 a = hn::Sub(load_lanes(x + p * c + k, n), x0), b = hn::Sub(load_lanes(x + (p + 1) * c + k, n), x0);
        s0 = hn::Add(s0, a);
        s1 = hn::Add(s1, b);
        q0 = hn::MulAdd(a, a, q0);
        q1 = hn::MulAdd(b, b, q1);
      }
      if (p < end) {
        const V32 a = hn::Sub(load_lanes(x + p * c + k, n), x0);
        s0 = hn::Add(s0, a);
        q0 = hn::MulAdd(a, a, q0);
      }
      sum = hn::Add(sum, hn::Add(s0, s1));
      square_sum = hn::Add(square_sum, hn::Add(q0, q1));
    }
    store_lanes(x0, first + k, n);
    store_lanes(sum, sums + k, n);
    store_lanes(square_sum, squares + k, n);
  });
}

template <bool kSilu, class T>
HWY_INLINE void normalize_of(T* y, const T* x, const ChannelTables& t, int64_t pixels, int64_t c) {
  for (int64_t p = 0; p < pixels; ++p, x += c, y += c)
    for_channels(c, [&](int64_t k, int64_t n) HWY_ATTR {
      const V32 distance = hn::Sub(load_lanes(x + k, n), load_lanes(t.mean + k, n));
      const V32 z = hn::MulAdd(distance, load_lanes(t.slope + k, n), load_lanes(t.bias + k, n));
      store_lanes(kSilu ? hn::Mul(z, fast_sigmoid(z)) : z, y + k, n);
    });
}

// Gradient behind the affine map: dz = dy, or dy·silu′(z) with silu′(z) = s·(1 + z·(1 − s)).
template <bool kSilu>
HWY_INLINE V32 gradient(V32 dy, V32 n, V32 weight, V32 bias) {
  if (!kSilu) return dy;
  const V32 z = hn::MulAdd(n, weight, bias), s = fast_sigmoid(z);
  return hn::Mul(hn::Mul(dy, s), hn::MulAdd(z, hn::Sub(set(1.0f), s), set(1.0f)));
}

// Σ dz and Σ dz·n over pixels for each channel; dz is kept where it is wanted.
template <bool kSilu, class T>
HWY_INLINE void gradient_sums_of(float* sums, float* products, float* dz, const T* dy, const T* x, const ChannelTables& t,
                                 int64_t pixels, int64_t c) {
  const F32 d;
  for_channels(c, [&](int64_t k, int64_t lanes) HWY_ATTR {
    const V32 mean = load_lanes(t.mean + k, lanes), rstd = load_lanes(t.rstd + k, lanes);
    const V32 weight = load_lanes(t.weight + k, lanes), bias = load_lanes(t.bias + k, lanes);
    V32 s[2] = {hn::Zero(d), hn::Zero(d)}, q[2] = {hn::Zero(d), hn::Zero(d)};
    const auto add = [&](int64_t p, int i) HWY_ATTR {
      const int64_t at = p * c + k;
      const V32 n = hn::Mul(hn::Sub(load_lanes(x + at, lanes), mean), rstd);
      const V32 z = gradient<kSilu>(load_lanes(dy + at, lanes), n, weight, bias);
      if (dz) store_lanes(z, dz + at, lanes);
      s[i] = hn::Add(s[i], z);
      q[i] = hn::MulAdd(z, n, q[i]);
    };
    int64_t p = 0;
    for (; p + 2 <= pixels; p += 2) {
      add(p, 0);
      add(p + 1, 1);
    }
    if (p < pixels) add(p, 0);
    store_lanes(hn::Add(s[0], s[1]), sums + k, lanes);
    store_lanes(hn::Add(q[0], q[1]), products + k, lanes);
  });
}

// dx may stand where dz does.
template <class T>
HWY_INLINE void input_gradient_of(T* dx, const float* dz, const T* x, const ChannelTables& t, int64_t pixels, int64_t c) {
  for (int64_t p = 0; p < pixels; ++p, dx += c, dz += c, x += c)
    for_channels(c, [&](int64_t k, int64_t lanes) HWY_ATTR {
      const V32 n = hn::Mul(hn::Sub(load_lanes(x + k, lanes), load_lanes(t.mean + k, lanes)), load_lanes(t.rstd + k, lanes));
      const V32 straight = hn::MulSub(load_lanes(dz + k, lanes), load_lanes(t.slope + k, lanes), load_lanes(t.drift + k, lanes));
      store_lanes(hn::NegMulAdd(n, load_lanes(t.pull + k, lanes), straight), dx + k, lanes);
    });
}

// The functions above at the element type of an image, from element `at` on.
void channel_sums(float* first, float* sums, float* squares, const CRef& x, int64_t at, int64_t pixels, int64_t c) {
  with_float_type(x.dtype, "group_norm", [&](auto tag) {
    channel_sums_of(first, sums, squares, static_cast<const decltype(tag)*>(x.data) + at, pixels, c);
  });
}

void normalize(const Ref& y, const CRef& x, int64_t at, const ChannelTables& t, int64_t pixels, int64_t c, bool silu) {
  with_float_type(x.dtype, "group_norm", [&](auto tag) {
    using T = decltype(tag);
    const auto to = static_cast<T*>(y.data) + at;
    const auto from = static_cast<const T*>(x.data) + at;
    if (silu)
      normalize_of<true>(to, from, t, pixels, c);
    else
      normalize_of<false>(to, from, t, pixels, c);
  });
}

void gradient_sums(float* sums, float* products, float* dz, const CRef& dy, const CRef& x, int64_t at, const ChannelTables& t,
                   int64_t pixels, int64_t c, bool silu) {
  with_float_type(x.dtype, "group_norm_backward", [&](auto tag) {
    using T = decltype(tag);
    const auto gradient = static_cast<const T*>(dy.data) + at, image = static_cast<const T*>(x.data) + at;
    float* kept = dz ? dz + at : nullptr;
    if (silu)
      gradient_sums_of<true>(sums, products, kept, gradient, image, t, pixels, c);
    else
      gradient_sums_of<false>(sums, products, kept, gradient, image, t, pixels, c);
  });
}

void input_gradient(const Ref& dx, const float* dz, const CRef& x, int64_t at, const ChannelTables& t, int64_t pixels,
                    int64_t c) {
  with_float_type(x.dtype, "group_norm_backward", [&](auto tag) {
    using T = decltype(tag);
    input_gradient_of(static_cast<T*>(dx.data) + at, dz + at, static_cast<const T*>(x.data) + at, t, pixels, c);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {
HWY_EXPORT(channel_sums);
HWY_EXPORT(normalize);
HWY_EXPORT(gradient_sums);
HWY_EXPORT(input_gradient);

// How the pixels of the samples are cut: 128 KiB of floats a chunk, so that the second look at it finds it in the cache.
struct Chunks {
  int64_t hw, c, pixels, per_sample;
  Chunks(int64_t hw, int64_t c)
      : hw(hw), c(c), pixels(std::clamp<int64_t>(32768 / c, 8, 1024)), per_sample((hw + pixels - 1) / pixels) {}
  int64_t length(int64_t chunk) const { return std::min(pixels, hw - chunk * pixels); }
  int64_t offset(int64_t sample, int64_t chunk) const { return (sample * hw + chunk * pixels) * c; }
};

struct Samples {
  int64_t begin, end;
};

// Calls body(sample, chunk) for all chunks of some samples, in parallel.
template <class Body>
void for_chunks(Samples samples, const Chunks& chunks, Body&& body) {
  const int64_t elements = std::min(chunks.hw, chunks.pixels) * chunks.c;
  const int64_t count = (samples.end - samples.begin) * chunks.per_sample;
  parallel_for(count, std::max<int64_t>(1, 16384 / elements), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(samples.begin + i / chunks.per_sample, i % chunks.per_sample);
  });
}

// Calls body(samples) for groups of samples that the caches hold, since each is looked at twice.
template <class Body>
void for_samples(int64_t n, int64_t elements, Body&& body) {
  const int64_t together = std::clamp<int64_t>((1 << 19) / elements, 1, n);
  for (int64_t begin = 0; begin < n; begin += together) body(Samples{begin, std::min(n, begin + together)});
}

// Mean and sum of squared distances from it, joined by Chan's rule.
struct Moments {
  double count = 0, mean = 0, squares = 0;
  void join(double n, double m, double s) {
    const double total = count + n, distance = m - mean;
    squares += s + distance * distance * count * n / total;
    mean += distance * n / total;
    count = total;
  }
};

std::vector<float> as_f32(CpuBackend& backend, const CRef& from, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  backend.cast({{values.data(), DType::F32}, from, count});
  return values;
}

}  // namespace

void CpuBackend::group_norm(const GroupNormArgs& args) {
  for (const CRef& ref : {CRef(args.y), args.weight, args.bias}) expect_like_others(ref, args.x.dtype, "group_norm");
  const int64_t n = args.n, hw = args.hw, c = args.c, groups = args.groups, width = c / groups;
  if (n * hw * c == 0) return;
  const Chunks chunks(hw, c);
  float *mean = args.mean.f32(), *rstd = args.rstd.f32();
  const std::vector<float> weight = as_f32(*this, args.weight, c), bias = as_f32(*this, args.bias, c);

  std::vector<Moments> moments(static_cast<size_t>(n * chunks.per_sample * groups));
  std::vector<float> tables(static_cast<size_t>(n * 2 * c));  // mean and slope of each channel
  for_samples(n, hw * c, [&](Samples samples) {
    for_chunks(samples, chunks, [&](int64_t s, int64_t chunk) {
      std::vector<float> sums(static_cast<size_t>(3 * c));
      float* first = sums.data() + 2 * c;
      const int64_t pixels = chunks.length(chunk);
      HWY_DYNAMIC_DISPATCH(channel_sums)(first, sums.data(), sums.data() + c, args.x, chunks.offset(s, chunk), pixels, c);
      Moments* group = moments.data() + (s * chunks.per_sample + chunk) * groups;
      const double count = static_cast<double>(pixels);
      for (int64_t k = 0; k < c; ++k) {
        const double sum = sums[static_cast<size_t>(k)], squares = sums[static_cast<size_t>(c + k)];
        group[k / width].join(count, first[k] + sum / count, std::max(0.0, squares - sum * sum / count));
      }
    });

    for (int64_t s = samples.begin; s < samples.end; ++s)
      for (int64_t g = 0; g < groups; ++g) {
        Moments all;
        for (int64_t chunk = 0; chunk < chunks.per_sample; ++chunk) {
          const Moments& part = moments[static_cast<size_t>((s * chunks.per_sample + chunk) * groups + g)];
          all.join(part.count, part.mean, part.squares);
        }
        const float m = static_cast<float>(all.mean);
        const float r = static_cast<float>(1.0 / std::sqrt(all.squares / all.count + static_cast<double>(args.eps)));
        mean[s * groups + g] = m;
        rstd[s * groups + g] = r;
        for (int64_t k = g * width; k < (g + 1) * width; ++k) {
          tables[static_cast<size_t>(s * 2 * c + k)] = m;
          tables[static_cast<size_t>(s * 2 * c + c + k)] = r * weight[static_cast<size_t>(k)];
        }
      }

    for_chunks(samples, chunks, [&](int64_t s, int64_t chunk) {
      const float* table = tables.data() + s * 2 * c;
      HWY_DYNAMIC_DISPATCH(normalize)
      (args.y, args.x, chunks.offset(s, chunk), {table, nullptr, weight.data(), bias.data(), table + c, nullptr, nullptr},
       chunks.length(chunk), c, args.silu);
    });
  });
}

void CpuBackend::group_norm_backward(const GroupNormBackwardArgs& args) {
  const DType dtype = args.x.dtype;
  for (const CRef& ref : {CRef(args.dx), CRef(args.dweight), CRef(args.dbias), args.dy, args.weight, args.bias})
    expect_like_others(ref, dtype, "group_norm_backward");
  const int64_t n = args.n, hw = args.hw, c = args.c, groups = args.groups, width = c / groups;
  const float *mean = args.mean.f32(), *rstd = args.rstd.f32();
  const std::vector<float> weight = as_f32(*this, args.weight, c), bias = as_f32(*this, args.bias, c);
  std::vector<float> dweight(static_cast<size_t>(c)), dbias(static_cast<size_t>(c));
  const auto finish = [&] {
    if (args.dweight) cast({args.dweight, {dweight.data(), DType::F32}, c});
    if (args.dbias) cast({args.dbias, {dbias.data(), DType::F32}, c});
  };
  if (n * hw * c == 0) return finish();
  const Chunks chunks(hw, c);

  std::vector<float> tables(static_cast<size_t>(n * 5 * c));  // mean, rstd, slope, drift and pull of each channel
  for (int64_t s = 0; s < n; ++s)
    for (int64_t k = 0; k < c; ++k) {
      float* table = tables.data() + s * 5 * c + k;
      table[0] = mean[s * groups + k / width];
      table[c] = rstd[s * groups + k / width];
      table[2 * c] = table[c] * weight[static_cast<size_t>(k)];
    }
  const auto tables_of = [&](int64_t s) -> ChannelTables {
    const float* table = tables.data() + s * 5 * c;
    return {table, table + c, weight.data(), bias.data(), table + 2 * c, table + 3 * c, table + 4 * c};
  };

  // The gradient behind the affine map is kept for the second look: in dx, or of images of 16 bits in f32. Without SiLU it is dy.
  const bool is_dy = !args.silu && dtype == DType::F32;
  const Workspace wide(allocator_,
                       args.dx && !is_dy && dtype != DType::F32 ? static_cast<size_t>(n * hw * c) * sizeof(float) : 0);
  float* dz = !args.dx || is_dy ? nullptr : dtype == DType::F32 ? args.dx.f32() : static_cast<float*>(wide.data());

  std::vector<float> partial(static_cast<size_t>(n * chunks.per_sample * 2 * c));
  std::vector<double> sums(static_cast<size_t>(n * 2 * c));  // Σ dz and Σ dz·n of each sample and channel
  const double count = static_cast<double>(hw * width);
  for_samples(n, hw * c, [&](Samples samples) {
    for_chunks(samples, chunks, [&](int64_t s, int64_t chunk) {
      float* part = partial.data() + (s * chunks.per_sample + chunk) * 2 * c;
      HWY_DYNAMIC_DISPATCH(gradient_sums)
      (part, part + c, dz, args.dy, args.x, chunks.offset(s, chunk), tables_of(s), chunks.length(chunk), c, args.silu);
    });

    for (int64_t s = samples.begin; s < samples.end; ++s)
      for (int64_t chunk = 0; chunk < chunks.per_sample; ++chunk)
        for (int64_t k = 0; k < 2 * c; ++k)
          sums[static_cast<size_t>(s * 2 * c + k)] += partial[static_cast<size_t>((s * chunks.per_sample + chunk) * 2 * c + k)];
    if (!args.dx) return;
    for (int64_t s = samples.begin; s < samples.end; ++s)
      for (int64_t g = 0; g < groups; ++g) {
        double along = 0, across = 0;  // Σ dz·weight and Σ dz·weight·n over the group
        for (int64_t k = g * width; k < (g + 1) * width; ++k) {
          along += weight[static_cast<size_t>(k)] * sums[static_cast<size_t>(s * 2 * c + k)];
          across += weight[static_cast<size_t>(k)] * sums[static_cast<size_t>(s * 2 * c + c + k)];
        }
        const double r = rstd[s * groups + g];
        for (int64_t k = g * width; k < (g + 1) * width; ++k) {
          tables[static_cast<size_t>(s * 5 * c + 3 * c + k)] = static_cast<float>(r * along / count);
          tables[static_cast<size_t>(s * 5 * c + 4 * c + k)] = static_cast<float>(r * across / count);
        }
      }
    for_chunks(samples, chunks, [&](int64_t s, int64_t chunk) {
      HWY_DYNAMIC_DISPATCH(input_gradient)
      (args.dx, is_dy ? args.dy.f32() : dz, args.x, chunks.offset(s, chunk), tables_of(s), chunks.length(chunk), c);
    });
  });
  for (int64_t k = 0; k < c; ++k) {
    double db = 0, dw = 0;
    for (int64_t s = 0; s < n; ++s) {
      db += sums[static_cast<size_t>(s * 2 * c + k)];
      dw += sums[static_cast<size_t>(s * 2 * c + c + k)];
    }
    dbias[static_cast<size_t>(k)] = static_cast<float>(db);
    dweight[static_cast<size_t>(k)] = static_cast<float>(dw);
  }
  finish();
}

}  // namespace star
#endif  // HWY_ONCE
