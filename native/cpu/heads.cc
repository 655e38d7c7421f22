// One part of a packed projection made ready for attention: l2 normalisation, scale and rotary embedding, a head at a time.
#include "cpu/vector_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/heads.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/half-inl.h"
#include "cpu/parallel.h"
#include "cpu/scratch.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

// a·b of two heads: short rows, whose lanes are best added in registers.
HWY_INLINE float dot(const float* a, const float* b, int64_t n) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V32 s0 = hn::Zero(d), s1 = s0;
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    s0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), s0);
    s1 = hn::MulAdd(hn::LoadU(d, a + i + lanes), hn::LoadU(d, b + i + lanes), s1);
  }
  for (; i + lanes <= n; i += lanes) s0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), s0);
  if (i < n) s1 = hn::MulAdd(load_first(a + i, n - i), load_first(b + i, n - i), s1);
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)));
}

struct ScaleBy {
  V32 factor;
  HWY_INLINE V32 operator()(V32 x) const { return hn::Mul(factor, x); }
};
// y = factor·x with pairs (2i, 2i + 1) turned by the angle whose (cos, sin) stand in the same places of `rope`; `direction` −1
// turns back. y may be x itself.
#if HWY_TARGET == HWY_SCALAR
void rotate(float* y, const float* x, const float* rope, int64_t dim, float direction, float factor) {
  for (int64_t i = 0; i < dim; i += 2) {
    const float even = x[i], odd = x[i + 1], cosine = rope[i], sine = direction * rope[i + 1];
    y[i] = factor * (even * cosine - odd * sine);
    y[i + 1] = factor * (even * sine + odd * cosine);
  }
}
#else
struct Rotate {
  V32 direction, factor;
  HWY_INLINE V32 operator()(V32 x, V32 rope) const {
    const V32 sine = hn::Mul(direction, hn::DupOdd(rope));
    return hn::Mul(factor, hn::MulAdd(x, hn::DupEven(rope), hn::Mul(hn::Reverse2(F32(), x), hn::OddEven(sine, hn::Neg(sine)))));
  }
};
void rotate(float* y, const float* x, const float* rope, int64_t dim, float direction, float factor) {
  map2(y, x, rope, dim, Rotate{set(direction), set(factor)});
}
#endif

struct Project {  // factor·(dh − x·along)
  V32 factor, along;
  HWY_INLINE V32 operator()(V32 dh, V32 x) const { return hn::Mul(factor, hn::NegMulAdd(x, along, dh)); }
};

constexpr float kSmallestNorm = 1e-12f;

// `buffer` holds the heads of a token where x is 16 bits wide.
template <class T>
void heads_rows_of(const HeadsArgs& a, const float* factors, float* buffer, int64_t begin, int64_t end) {
  const auto x = static_cast<const T*>(a.x.data);
  const float* rope = a.rope ? a.rope.f32() : nullptr;
  const auto out = static_cast<T*>(a.out.data);
  const int64_t dim = a.head_dim, width = a.heads * dim;
  for (int64_t token = begin; token < end; ++token) {
    const int64_t b = token / a.length, l = token % a.length;
    const T* row = x + (token * a.parts + a.part) * width;
    T* out_row = out + (b * a.out_capacity + a.out_position + l) * width;
    if (!a.l2_norm && !rope) {
      std::memcpy(out_row, row, static_cast<size_t>(width) * sizeof(T));
      continue;
    }
    const float* from = as_floats(row, buffer, width);
    float* to = buffer;
    if constexpr (std::is_same_v<T, float>) to = out_row;
    for (int64_t h = 0; h < a.heads; ++h, from += dim, to += dim) {
      float factor = 1.0f;
      if (a.l2_norm) factor = factors[h] / std::max(kSmallestNorm, std::sqrt(dot(from, from, dim)));
      if (rope)
        rotate(to, from, rope + l * dim, dim, 1.0f, factor);
      else
        map1(to, from, dim, ScaleBy{set(factor)});
    }
    if constexpr (!std::is_same_v<T, float>) narrow_range(out_row, buffer, width);
  }
}

void heads_rows(const HeadsArgs& a, const float* factors, float* buffer, int64_t begin, int64_t end) {
  with_float_type(a.x.dtype, "heads", [&](auto tag) { heads_rows_of<decltype(tag)>(a, factors, buffer, begin, end); });
}

// dscale[h] gains Σ over the tokens of y·dy, the gradient of the head's logarithmic scale. `buffer` holds a head, and
// for the heads of two tokens where x is 16 bits wide.
template <class T>
void heads_backward_rows_of(const HeadsBackwardArgs& a, const float* factors, double* dscale, float* buffer, int64_t begin,
                            int64_t end) {
  const auto x = static_cast<const T*>(a.x.data), dout = static_cast<const T*>(a.dout.data);
  const float* rope = a.rope ? a.rope.f32() : nullptr;
  const auto dx = static_cast<T*>(a.dx.data);
  const int64_t dim = a.head_dim, width = a.heads * dim;
  float *turned = buffer, *wide_x = turned + dim, *wide_dy = wide_x + width;
  for (int64_t token = begin; token < end; ++token) {
    const int64_t l = token % a.length, at = (token * a.parts + a.part) * width;
    if (!a.l2_norm && !rope) {
      std::memcpy(dx + at, dout + token * width, static_cast<size_t>(width) * sizeof(T));
      continue;
    }
    const float* row = as_floats(x + at, wide_x, width);
    const float* dy = as_floats(dout + token * width, wide_dy, width);
    float* to = wide_dy;  // each head is read before it is written
    if constexpr (std::is_same_v<T, float>) to = dx + at;
    for (int64_t h = 0; h < a.heads; ++h, row += dim, dy += dim, to += dim) {
      const float* dh = dy;
      if (rope) {
        float* back = a.l2_norm ? turned : to;
        rotate(back, dy, rope + l * dim, dim, -1.0f, 1.0f);
        dh = back;
      }
      if (!a.l2_norm) continue;
      const float norm = std::sqrt(dot(row, row, dim));
      const float overlap = dot(dh, row, dim);
      const float factor = factors[h] / std::max(kSmallestNorm, norm);
      // Below the smallest norm the divisor is constant, so nothing is projected out.
      const float along = norm > kSmallestNorm ? overlap / norm / norm : 0.0f;
      map2(to, dh, row, dim, Project{set(factor), set(along)});
      if (dscale) dscale[h] += factor * overlap;
    }
    if constexpr (!std::is_same_v<T, float>) narrow_range(dx + at, wide_dy, width);
  }
}

void heads_backward_rows(const HeadsBackwardArgs& a, const float* factors, double* dscale, float* buffer, int64_t begin,
                         int64_t end) {
  with_float_type(a.x.dtype, "heads_backward",
                  [&](auto tag) { heads_backward_rows_of<decltype(tag)>(a, factors, dscale, buffer, begin, end); });
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {

HWY_EXPORT(heads_rows);
HWY_EXPORT(heads_backward_rows);

const float kLargestLogScale = std::log(100.0f);

std::vector<float> head_factors(const CRef& log_scale, int64_t heads) {
  std::vector<float> factors(static_cast<size_t>(heads), 1.0f);
  if (log_scale)
    for (int64_t h = 0; h < heads; ++h) factors[h] = std::exp(std::min(log_scale.f32()[h], kLargestLogScale));
  return factors;
}

// Fixed for given dimensions, since the sums of dlog_scale are taken chunk by chunk.
int64_t token_grain(int64_t heads, int64_t head_dim) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, heads * head_dim));
}

}  // namespace

void CpuBackend::heads(const HeadsArgs& a) {
  expect_like_others(a.out, a.x.dtype, "heads");
  const auto factors = head_factors(a.log_scale, a.heads);
  parallel_for(a.batch * a.length, token_grain(a.heads, a.head_dim), [&](int64_t begin, int64_t end) {
    thread_local Scratch scratch;
    float* buffer = is_half(a.x.dtype) ? scratch.floats("heads", static_cast<size_t>(a.heads * a.head_dim)) : nullptr;
    HWY_DYNAMIC_DISPATCH(heads_rows)(a, factors.data(), buffer, begin, end);
  });
}

void CpuBackend::heads_backward(const HeadsBackwardArgs& a) {
  for (const CRef& ref : {CRef(a.dx), a.dout}) expect_like_others(ref, a.x.dtype, "heads_backward");
  const auto factors = head_factors(a.log_scale, a.heads);
  const int64_t tokens = a.batch * a.length, grain = token_grain(a.heads, a.head_dim), chunks = (tokens + grain - 1) / grain;
  std::vector<double> sums(a.dlog_scale ? static_cast<size_t>(chunks * a.heads) : 0);
  parallel_chunks(tokens, grain, [&](int64_t chunk, int64_t begin, int64_t end) {
    thread_local Scratch scratch;
    const int64_t wide = is_half(a.x.dtype) ? 2 * a.heads * a.head_dim : 0;
    float* buffer = scratch.floats("heads_backward", static_cast<size_t>(a.head_dim + wide));
    double* dscale = sums.empty() ? nullptr : sums.data() + chunk * a.heads;
    HWY_DYNAMIC_DISPATCH(heads_backward_rows)(a, factors.data(), dscale, buffer, begin, end);
  });
  if (!a.dlog_scale) return;
  float* dlog_scale = a.dlog_scale.f32();
  for (int64_t h = 0; h < a.heads; ++h) {
    double sum = 0.0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += sums[chunk * a.heads + h];
    // Where the scale is clamped it does not move.
    dlog_scale[h] = a.log_scale && a.log_scale.f32()[h] <= kLargestLogScale ? static_cast<float>(sum) : 0.0f;
  }
}

}  // namespace star
#endif  // HWY_ONCE
