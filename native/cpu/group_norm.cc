// Group normalisation of NHWC images, with SiLU behind it when asked. Work is split into chunks of pixels; within a chunk the
// sums of each channel stay in registers, and chunks are joined in double, in order.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/group_norm.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/vector-inl.h"
#include "cpu/widen.h"

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

// Σ (x − x₀) and Σ (x − x₀)² over pixels for each channel, x₀ being the first pixel: near the mean, so nothing cancels.
// Sums of kRun pixels are added up, so that no sum has many terms to round.
void channel_sums(float* sums, float* squares, const float* x, int64_t pixels, int64_t c) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  constexpr int64_t kRun = 128;
  int64_t k = 0;
  for (; k + 2 * lanes <= c; k += 2 * lanes) {
    const V32 xa = hn::LoadU(d, x + k), xb = hn::LoadU(d, x + k + lanes);
    V32 sum_a = hn::Zero(d), sum_b = sum_a, squares_a = sum_a, squares_b = sum_a;
    for (int64_t begin = 1; begin < pixels; begin += kRun) {
      V32 sa = hn::Zero(d), sb = sa, qa = sa, qb = sa;
      for (int64_t p = begin; p < std::min(pixels, begin + kRun); ++p) {
        const V32 a = hn::Sub(hn::LoadU(d, x + p * c + k), xa), b = hn::Sub(hn::LoadU(d, x + p * c + k + lanes), xb);
        sa = hn::Add(sa, a);
        sb = hn::Add(sb, b);
        qa = hn::MulAdd(a, a, qa);
        qb = hn::MulAdd(b, b, qb);
      }
      sum_a = hn::Add(sum_a, sa);
      sum_b = hn::Add(sum_b, sb);
      squares_a = hn::Add(squares_a, qa);
      squares_b = hn::Add(squares_b, qb);
    }
    hn::StoreU(sum_a, d, sums + k);
    hn::StoreU(sum_b, d, sums + k + lanes);
    hn::StoreU(squares_a, d, squares + k);
    hn::StoreU(squares_b, d, squares + k + lanes);
  }
  for (; k < c; k += lanes) {
    const int64_t left = std::min(c - k, lanes);
    const V32 x0 = load_first(x + k, left);
    V32 sum = hn::Zero(d), square_sum = sum;
    for (int64_t begin = 1; begin < pixels; begin += kRun) {
      V32 s = hn::Zero(d), q = s;
      for (int64_t p = begin; p < std::min(pixels, begin + kRun); ++p) {
        const V32 a = hn::Sub(load_first(x + p * c + k, left), x0);
        s = hn::Add(s, a);
        q = hn::MulAdd(a, a, q);
      }
      sum = hn::Add(sum, s);
      square_sum = hn::Add(square_sum, q);
    }
    store_first(sum, sums + k, left);
    store_first(square_sum, squares + k, left);
  }
}

template <bool kSilu>
HWY_INLINE void normalize_of(float* y, const float* x, const ChannelTables& t, int64_t pixels, int64_t c) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto value = [](V32 x, V32 mean, V32 slope, V32 bias) HWY_ATTR {
    const V32 z = hn::MulAdd(hn::Sub(x, mean), slope, bias);
    return kSilu ? silu_of(z) : z;
  };
  for (int64_t p = 0; p < pixels; ++p, x += c, y += c) {
    int64_t k = 0;
    for (; k + lanes <= c; k += lanes)
      hn::StoreU(value(hn::LoadU(d, x + k), hn::LoadU(d, t.mean + k), hn::LoadU(d, t.slope + k), hn::LoadU(d, t.bias + k)), d,
                 y + k);
    if (k < c)
      store_first(value(load_first(x + k, c - k), load_first(t.mean + k, c - k), load_first(t.slope + k, c - k),
                        load_first(t.bias + k, c - k)),
                  y + k, c - k);
  }
}

void normalize(float* y, const float* x, const ChannelTables& t, int64_t pixels, int64_t c, bool silu) {
  if (silu)
    normalize_of<true>(y, x, t, pixels, c);
  else
    normalize_of<false>(y, x, t, pixels, c);
}

// Gradient behind the affine map: dz = dy, or dy·silu′(z).
template <bool kSilu>
HWY_INLINE V32 gradient(V32 dy, V32 n, V32 weight, V32 bias) {
  return kSilu ? hn::Mul(dy, silu_slope(hn::MulAdd(n, weight, bias))) : dy;
}

// Σ dz and Σ dz·n over pixels for each channel.
template <bool kSilu>
HWY_INLINE void gradient_sums_of(float* sums, float* products, const float* dy, const float* x, const ChannelTables& t,
                                 int64_t pixels, int64_t c) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t k = 0;
  for (; k + lanes <= c; k += lanes) {
    const V32 mean = hn::LoadU(d, t.mean + k), rstd = hn::LoadU(d, t.rstd + k);
    const V32 weight = hn::LoadU(d, t.weight + k), bias = hn::LoadU(d, t.bias + k);
    V32 s0 = hn::Zero(d), s1 = s0, q0 = s0, q1 = s0;
    int64_t p = 0;
    for (; p + 2 <= pixels; p += 2) {
      const V32 n0 = hn::Mul(hn::Sub(hn::LoadU(d, x + p * c + k), mean), rstd);
      const V32 n1 = hn::Mul(hn::Sub(hn::LoadU(d, x + (p + 1) * c + k), mean), rstd);
      const V32 z0 = gradient<kSilu>(hn::LoadU(d, dy + p * c + k), n0, weight, bias);
      const V32 z1 = gradient<kSilu>(hn::LoadU(d, dy + (p + 1) * c + k), n1, weight, bias);
      s0 = hn::Add(s0, z0);
      s1 = hn::Add(s1, z1);
      q0 = hn::MulAdd(z0, n0, q0);
      q1 = hn::MulAdd(z1, n1, q1);
    }
    if (p < pixels) {
      const V32 n0 = hn::Mul(hn::Sub(hn::LoadU(d, x + p * c + k), mean), rstd);
      const V32 z0 = gradient<kSilu>(hn::LoadU(d, dy + p * c + k), n0, weight, bias);
      s0 = hn::Add(s0, z0);
      q0 = hn::MulAdd(z0, n0, q0);
    }
    hn::StoreU(hn::Add(s0, s1), d, sums + k);
    hn::StoreU(hn::Add(q0, q1), d, products + k);
  }
  if (k < c) {
    const int64_t left = c - k;
    const V32 mean = load_first(t.mean + k, left), rstd = load_first(t.rstd + k, left);
    const V32 weight = load_first(t.weight + k, left), bias = load_first(t.bias + k, left);
    V32 s = hn::Zero(d), q = s;
    for (int64_t p = 0; p < pixels; ++p) {
      const V32 n = hn::Mul(hn::Sub(load_first(x + p * c + k, left), mean), rstd);
      const V32 z = gradient<kSilu>(load_first(dy + p * c + k, left), n, weight, bias);
      s = hn::Add(s, z);
      q = hn::MulAdd(z, n, q);
    }
    store_first(s, sums + k, left);
    store_first(q, products + k, left);
  }
}

void gradient_sums(float* sums, float* products, const float* dy, const float* x, const ChannelTables& t, int64_t pixels,
                   int64_t c, bool silu) {
  if (silu)
    gradient_sums_of<true>(sums, products, dy, x, t, pixels, c);
  else
    gradient_sums_of<false>(sums, products, dy, x, t, pixels, c);
}

template <bool kSilu>
HWY_INLINE void input_gradient_of(float* dx, const float* dy, const float* x, const ChannelTables& t, int64_t pixels, int64_t c) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t p = 0; p < pixels; ++p, dx += c, dy += c, x += c) {
    int64_t k = 0;
    for (; k + lanes <= c; k += lanes) {
      const V32 n = hn::Mul(hn::Sub(hn::LoadU(d, x + k), hn::LoadU(d, t.mean + k)), hn::LoadU(d, t.rstd + k));
      const V32 dz = gradient<kSilu>(hn::LoadU(d, dy + k), n, hn::LoadU(d, t.weight + k), hn::LoadU(d, t.bias + k));
      const V32 straight = hn::MulSub(dz, hn::LoadU(d, t.slope + k), hn::LoadU(d, t.drift + k));
      hn::StoreU(hn::NegMulAdd(n, hn::LoadU(d, t.pull + k), straight), d, dx + k);
    }
    if (k < c) {
      const int64_t left = c - k;
      const V32 n = hn::Mul(hn::Sub(load_first(x + k, left), load_first(t.mean + k, left)), load_first(t.rstd + k, left));
      const V32 dz = gradient<kSilu>(load_first(dy + k, left), n, load_first(t.weight + k, left), load_first(t.bias + k, left));
      const V32 straight = hn::MulSub(dz, load_first(t.slope + k, left), load_first(t.drift + k, left));
      store_first(hn::NegMulAdd(n, load_first(t.pull + k, left), straight), dx + k, left);
    }
  }
}

void input_gradient(float* dx, const float* dy, const float* x, const ChannelTables& t, int64_t pixels, int64_t c, bool silu) {
  if (silu)
    input_gradient_of<true>(dx, dy, x, t, pixels, c);
  else
    input_gradient_of<false>(dx, dy, x, t, pixels, c);
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

// Calls body(sample, chunk) for all chunks of all samples, in parallel.
template <class Body>
void for_chunks(int64_t samples, const Chunks& chunks, Body&& body) {
  const int64_t elements = std::min(chunks.hw, chunks.pixels) * chunks.c;
  parallel_for(samples * chunks.per_sample, std::max<int64_t>(1, 16384 / elements), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i / chunks.per_sample, i % chunks.per_sample);
  });
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

}  // namespace

void CpuBackend::group_norm(const GroupNormArgs& args) {
  if (is_half(args.x.dtype)) return widened(*this, "group_norm", args.x.dtype, args, &CpuBackend::group_norm);
  const int64_t n = args.n, hw = args.hw, c = args.c, groups = args.groups, width = c / groups;
  if (n * hw * c == 0) return;
  const Chunks chunks(hw, c);
  float *y = args.y.f32(), *mean = args.mean.f32(), *rstd = args.rstd.f32();
  const float *x = args.x.f32(), *weight = args.weight.f32(), *bias = args.bias.f32();

  std::vector<Moments> moments(static_cast<size_t>(n * chunks.per_sample * groups));
  for_chunks(n, chunks, [&](int64_t s, int64_t chunk) {
    std::vector<float> sums(static_cast<size_t>(2 * c));
    const int64_t pixels = chunks.length(chunk);
    const float* first = x + chunks.offset(s, chunk);
    HWY_DYNAMIC_DISPATCH(channel_sums)(sums.data(), sums.data() + c, first, pixels, c);
    Moments* group = moments.data() + (s * chunks.per_sample + chunk) * groups;
    const double count = static_cast<double>(pixels);
    for (int64_t k = 0; k < c; ++k) {
      const double sum = sums[static_cast<size_t>(k)], squares = sums[static_cast<size_t>(c + k)];
      group[k / width].join(count, first[k] + sum / count, std::max(0.0, squares - sum * sum / count));
    }
  });

  std::vector<float> tables(static_cast<size_t>(n * 2 * c));  // mean and slope of each channel
  for (int64_t s = 0; s < n; ++s)
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
        tables[static_cast<size_t>(s * 2 * c + c + k)] = r * weight[k];
      }
    }

  for_chunks(n, chunks, [&](int64_t s, int64_t chunk) {
    const float* table = tables.data() + s * 2 * c;
    const int64_t at = chunks.offset(s, chunk);
    HWY_DYNAMIC_DISPATCH(normalize)
    (y + at, x + at, {table, nullptr, weight, bias, table + c, nullptr, nullptr}, chunks.length(chunk), c, args.silu);
  });
}

void CpuBackend::group_norm_backward(const GroupNormBackwardArgs& args) {
  if (is_half(args.x.dtype)) return widened(*this, "group_norm_backward", args.x.dtype, args, &CpuBackend::group_norm_backward);
  const int64_t n = args.n, hw = args.hw, c = args.c, groups = args.groups, width = c / groups;
  float* dx = args.dx ? args.dx.f32() : nullptr;
  float* dweight = args.dweight ? args.dweight.f32() : nullptr;
  float* dbias = args.dbias ? args.dbias.f32() : nullptr;
  const float *dy = args.dy.f32(), *x = args.x.f32(), *mean = args.mean.f32(), *rstd = args.rstd.f32();
  const float *weight = args.weight.f32(), *bias = args.bias.f32();
  if (dweight) std::fill_n(dweight, c, 0.0f);
  if (dbias) std::fill_n(dbias, c, 0.0f);
  if (n * hw * c == 0) return;
  const Chunks chunks(hw, c);

  std::vector<float> tables(static_cast<size_t>(n * 5 * c));  // mean, rstd, slope, drift and pull of each channel
  for (int64_t s = 0; s < n; ++s)
    for (int64_t k = 0; k < c; ++k) {
      float* table = tables.data() + s * 5 * c + k;
      table[0] = mean[s * groups + k / width];
      table[c] = rstd[s * groups + k / width];
      table[2 * c] = table[c] * weight[k];
    }
  const auto tables_of = [&](int64_t s) -> ChannelTables {
    const float* table = tables.data() + s * 5 * c;
    return {table, table + c, weight, bias, table + 2 * c, table + 3 * c, table + 4 * c};
  };

  std::vector<float> partial(static_cast<size_t>(n * chunks.per_sample * 2 * c));
  for_chunks(n, chunks, [&](int64_t s, int64_t chunk) {
    float* sums = partial.data() + (s * chunks.per_sample + chunk) * 2 * c;
    const int64_t at = chunks.offset(s, chunk);
    HWY_DYNAMIC_DISPATCH(gradient_sums)(sums, sums + c, dy + at, x + at, tables_of(s), chunks.length(chunk), c, args.silu);
  });

  std::vector<double> sums(static_cast<size_t>(n * 2 * c));  // Σ dz and Σ dz·n of each sample and channel
  for (int64_t s = 0; s < n; ++s)
    for (int64_t chunk = 0; chunk < chunks.per_sample; ++chunk)
      for (int64_t k = 0; k < 2 * c; ++k)
        sums[static_cast<size_t>(s * 2 * c + k)] += partial[static_cast<size_t>((s * chunks.per_sample + chunk) * 2 * c + k)];
  for (int64_t k = 0; k < c; ++k) {
    double db = 0, dw = 0;
    for (int64_t s = 0; s < n; ++s) {
      db += sums[static_cast<size_t>(s * 2 * c + k)];
      dw += sums[static_cast<size_t>(s * 2 * c + c + k)];
    }
    if (dbias) dbias[k] = static_cast<float>(db);
    if (dweight) dweight[k] = static_cast<float>(dw);
  }
  if (!dx) return;

  const double count = static_cast<double>(hw * width);
  for (int64_t s = 0; s < n; ++s)
    for (int64_t g = 0; g < groups; ++g) {
      double along = 0, across = 0;  // Σ dz·weight and Σ dz·weight·n over the group
      for (int64_t k = g * width; k < (g + 1) * width; ++k) {
        along += weight[k] * sums[static_cast<size_t>(s * 2 * c + k)];
        across += weight[k] * sums[static_cast<size_t>(s * 2 * c + c + k)];
      }
      const double r = rstd[s * groups + g];
      for (int64_t k = g * width; k < (g + 1) * width; ++k) {
        tables[static_cast<size_t>(s * 5 * c + 3 * c + k)] = static_cast<float>(r * along / count);
        tables[static_cast<size_t>(s * 5 * c + 4 * c + k)] = static_cast<float>(r * across / count);
      }
    }
  for_chunks(n, chunks, [&](int64_t s, int64_t chunk) {
    const int64_t at = chunks.offset(s, chunk);
    HWY_DYNAMIC_DISPATCH(input_gradient)(dx + at, dy + at, x + at, tables_of(s), chunks.length(chunk), c, args.silu);
  });
}

}  // namespace star
#endif  // HWY_ONCE
