// Layer normalisation of rows, with an affine map or a modulation that repeats over the rows.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layer_norm.cc"
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

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

struct First {
  HWY_INLINE V32 operator()(V32 a, V32) const { return a; }
};
struct SquaredDistance {
  V32 mean;
  HWY_INLINE V32 operator()(V32 x, V32) const {
    const V32 distance = hn::Sub(x, mean);
    return hn::Mul(distance, distance);
  }
};
struct Normalize {
  V32 mean, rstd;
  HWY_INLINE V32 operator()(V32 x) const { return hn::Mul(hn::Sub(x, mean), rstd); }
};
struct NormalizeScale {  // one is added to the factor when it is a modulation
  Normalize n;
  V32 one;
  HWY_INLINE V32 operator()(V32 x, V32 scale) const { return hn::Mul(n(x), hn::Add(scale, one)); }
};
struct NormalizeShift {
  Normalize n;
  HWY_INLINE V32 operator()(V32 x, V32 shift) const { return hn::Add(n(x), shift); }
};
struct NormalizeScaleShift {
  Normalize n;
  V32 one;
  HWY_INLINE V32 operator()(V32 x, V32 scale, V32 shift) const { return hn::MulAdd(n(x), hn::Add(scale, one), shift); }
};

void layer_norm_row(float* y, float* mean_out, float* rstd_out, const float* x, const float* scale, const float* shift,
                    int64_t cols, bool affine, float eps) {
  const float mean = static_cast<float>(sum2(x, x, cols, First()) / static_cast<double>(cols));
  const double variance = sum2(x, x, cols, SquaredDistance{set(mean)}) / static_cast<double>(cols);
  const float rstd = static_cast<float>(1.0 / std::sqrt(variance + static_cast<double>(eps)));
  *mean_out = mean;
  *rstd_out = rstd;
  const Normalize n{set(mean), set(rstd)};
  const V32 one = set(affine ? 0.0f : 1.0f);
  if (scale && shift)
    map3(y, x, scale, shift, cols, NormalizeScaleShift{n, one});
  else if (scale)
    map2(y, x, scale, cols, NormalizeScale{n, one});
  else if (shift)
    map2(y, x, shift, cols, NormalizeShift{n});
  else
    map1(y, x, cols, n);
}

struct InputGradient {  // rstd·(g − mean(g) − n·mean(g·n))
  Normalize n;
  V32 rstd, mean_g, mean_gn;
  HWY_INLINE V32 operator()(V32 g, V32 x) const { return hn::Mul(rstd, hn::Sub(hn::Sub(g, mean_g), hn::Mul(n(x), mean_gn))); }
};
struct ScaledInputGradient {
  InputGradient of;
  V32 one;
  HWY_INLINE V32 operator()(V32 dy, V32 x, V32 scale) const { return of(hn::Mul(dy, hn::Add(scale, one)), x); }
};

// Σ dy·n and Σ dy over `uses` rows that lie `step` rows apart, each sum in a register; either result may be null.
void layer_norm_parameter_sums(float* dscale, float* dshift, const float* dy, const float* x, const float* mean,
                               const float* rstd, int64_t uses, int64_t step, int64_t cols) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t k = 0;
  for (; k + 2 * lanes <= cols; k += 2 * lanes) {
    V32 s0 = hn::Zero(d), s1 = s0, b0 = s0, b1 = s0;
    for (int64_t use = 0; use < uses; ++use) {
      const int64_t row = use * step, at = row * cols + k;
      const Normalize n{set(mean[row]), set(rstd[row])};
      const V32 dy0 = hn::LoadU(d, dy + at), dy1 = hn::LoadU(d, dy + at + lanes);
      b0 = hn::Add(b0, dy0);
      b1 = hn::Add(b1, dy1);
      s0 = hn::MulAdd(dy0, n(hn::LoadU(d, x + at)), s0);
      s1 = hn::MulAdd(dy1, n(hn::LoadU(d, x + at + lanes)), s1);
    }
    if (dscale) {
      hn::StoreU(s0, d, dscale + k);
      hn::StoreU(s1, d, dscale + k + lanes);
    }
    if (dshift) {
      hn::StoreU(b0, d, dshift + k);
      hn::StoreU(b1, d, dshift + k + lanes);
    }
  }
  for (; k < cols; k += lanes) {
    const int64_t left = std::min(cols - k, lanes);
    V32 s = hn::Zero(d), b = s;
    for (int64_t use = 0; use < uses; ++use) {
      const int64_t row = use * step, at = row * cols + k;
      const Normalize n{set(mean[row]), set(rstd[row])};
      const V32 g = load_first(dy + at, left);
      b = hn::Add(b, g);
      s = hn::MulAdd(g, n(load_first(x + at, left)), s);
    }
    if (dscale) store_first(s, dscale + k, left);
    if (dshift) store_first(b, dshift + k, left);
  }
}

void layer_norm_input_gradient(float* dx, const float* dy, const float* x, const float* scale, float mean, float rstd,
                               int64_t cols, bool affine) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const Normalize n{set(mean), set(rstd)};
  const V32 one = set(affine ? 0.0f : 1.0f);
  V32 g0 = hn::Zero(d), g1 = g0, gn0 = g0, gn1 = g0;  // Σ g and Σ g·n with g = dy·factor
  const auto factor = [&](int64_t i) HWY_ATTR { return scale ? hn::Add(hn::LoadU(d, scale + i), one) : set(1.0f); };
  int64_t i = 0;
  for (; i + 2 * lanes <= cols; i += 2 * lanes) {
    const V32 a = hn::Mul(hn::LoadU(d, dy + i), factor(i)), b = hn::Mul(hn::LoadU(d, dy + i + lanes), factor(i + lanes));
    g0 = hn::Add(g0, a);
    g1 = hn::Add(g1, b);
    gn0 = hn::MulAdd(a, n(hn::LoadU(d, x + i)), gn0);
    gn1 = hn::MulAdd(b, n(hn::LoadU(d, x + i + lanes)), gn1);
  }
  for (; i < cols; i += lanes) {  // whatever is padded meets dy = 0
    const int64_t left = std::min(cols - i, lanes);
    V32 a = load_first(dy + i, left);
    if (scale) a = hn::Mul(a, hn::Add(load_first(scale + i, left), one));
    g0 = hn::Add(g0, a);
    gn0 = hn::MulAdd(a, n(load_first(x + i, left)), gn0);
  }
  const double count = static_cast<double>(cols);
  const InputGradient of{n, set(rstd), set(static_cast<float>(lanes_sum(hn::Add(g0, g1)) / count)),
                         set(static_cast<float>(lanes_sum(hn::Add(gn0, gn1)) / count))};
  if (scale)
    map3(dx, dy, x, scale, cols, ScaledInputGradient{of, one});
  else
    map2(dx, dy, x, cols, of);
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {
HWY_EXPORT(layer_norm_row);
HWY_EXPORT(layer_norm_parameter_sums);
HWY_EXPORT(layer_norm_input_gradient);

// target[m] = Σ over the chunks of partial[m, chunk].
void join_chunks(float* target, const std::vector<float>& partial, int64_t mod_rows, int64_t chunks, int64_t cols) {
  parallel_for(mod_rows * cols, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) {
      double total = 0;
      for (int64_t k = 0; k < chunks; ++k) total += partial[static_cast<size_t>((at / cols * chunks + k) * cols + at % cols)];
      target[at] = static_cast<float>(total);
    }
  });
}
}  // namespace

void CpuBackend::layer_norm(const LayerNormArgs& args) {
  if (is_half(args.x.dtype)) return widened(*this, "layer_norm", args.x.dtype, args, &CpuBackend::layer_norm);
  float* y = args.y.f32();
  float *mean = args.mean.f32(), *rstd = args.rstd.f32();
  const float* x = args.x.f32();
  const float* scale = args.scale ? args.scale.f32() : nullptr;
  const float* shift = args.shift ? args.shift.f32() : nullptr;
  const int64_t cols = args.cols;
  if (cols == 0) return;
  parallel_for(args.rows, std::max<int64_t>(1, 16384 / cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t m = r % args.mod_rows * cols;
      HWY_DYNAMIC_DISPATCH(layer_norm_row)
      (y + r * cols, mean + r, rstd + r, x + r * cols, scale ? scale + m : nullptr, shift ? shift + m : nullptr, cols,
       args.affine, args.eps);
    }
  });
}

void CpuBackend::layer_norm_backward(const LayerNormBackwardArgs& args) {
  if (is_half(args.x.dtype)) return widened(*this, "layer_norm_backward", args.x.dtype, args, &CpuBackend::layer_norm_backward);
  float* dx = args.dx ? args.dx.f32() : nullptr;
  float* dscale = args.dscale ? args.dscale.f32() : nullptr;
  float* dshift = args.dshift ? args.dshift.f32() : nullptr;
  const float *dy = args.dy.f32(), *x = args.x.f32(), *mean = args.mean.f32(), *rstd = args.rstd.f32();
  const float* scale = args.scale ? args.scale.f32() : nullptr;
  const int64_t cols = args.cols, mod_rows = args.mod_rows;
  if (cols == 0) return;
  // Rows that share a row of dscale are summed in chunks of a fixed number of rows, and the chunks in order.
  constexpr int64_t kChunk = 64;
  const int64_t uses = args.rows / mod_rows, chunks = std::max<int64_t>(1, (uses + kChunk - 1) / kChunk);
  const size_t partial_size = chunks > 1 ? static_cast<size_t>(mod_rows * chunks * cols) : 0;
  std::vector<float> scale_partial(dscale ? partial_size : 0), shift_partial(dshift ? partial_size : 0);
  const int64_t per_item = std::min(uses, kChunk) * cols;
  parallel_for(mod_rows * chunks, std::max<int64_t>(1, 8192 / std::max<int64_t>(1, per_item)), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t m = item / chunks, first = item % chunks * kChunk;
      const int64_t first_row = first * mod_rows + m, rows = std::min(uses, first + kChunk) - first;
      for (int64_t use = 0; dx && use < rows; ++use) {
        const int64_t r = first_row + use * mod_rows;
        HWY_DYNAMIC_DISPATCH(layer_norm_input_gradient)
        (dx + r * cols, dy + r * cols, x + r * cols, scale ? scale + m * cols : nullptr, mean[r], rstd[r], cols, args.affine);
      }
      if (!dscale && !dshift) continue;
      float* scale_sums = !dscale ? nullptr : chunks > 1 ? scale_partial.data() + item * cols : dscale + m * cols;
      float* shift_sums = !dshift ? nullptr : chunks > 1 ? shift_partial.data() + item * cols : dshift + m * cols;
      HWY_DYNAMIC_DISPATCH(layer_norm_parameter_sums)
      (scale_sums, shift_sums, dy + first_row * cols, x + first_row * cols, mean + first_row, rstd + first_row, rows, mod_rows,
       cols);
    }
  });
  if (chunks > 1) {
    if (dscale) join_chunks(dscale, scale_partial, mod_rows, chunks, cols);
    if (dshift) join_chunks(dshift, shift_partial, mod_rows, chunks, cols);
  }
}

}  // namespace star
#endif  // HWY_ONCE
