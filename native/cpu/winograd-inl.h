// The pieces of Winograd's convolution, once per instruction set: transforms of one tile and a register-tiled product.
// Include it after <hwy/foreach_target.h>.
//
// A tile of 4×4 outputs of a 3×3 convolution needs a 6×6 piece d of the image. With the matrices below,
//   y = Aᵀ[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]A
// takes 36 products a channel pair where the sum itself takes 144 (Lavin & Gray, "Fast Algorithms for Convolutional Neural
// Networks", 2016, F(4×4, 3×3)). Summed over channels the 36 products are 36 matrix products. The gradient of the weights is the
// transposed map: dg = Gᵀ[Σ (A·dy·Aᵀ) ⊙ (Bᵀ·d·B)]G, summed over tiles.
#if defined(STAR_CPU_WINOGRAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STAR_CPU_WINOGRAD_INL_H_
#undef STAR_CPU_WINOGRAD_INL_H_
#else
#define STAR_CPU_WINOGRAD_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "cpu/half-inl.h"
#include "cpu/winograd.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(F32());

// The matrices interpolate at 0, ±a, ±b and infinity. The usual ±1, ±2 double the rounding errors; these points give 0.7e-6 of
// the result's norm with 64 channels, about what summing in another order changes.
constexpr float kA = 0.625f, kB = 1.5f, kA2 = kA * kA, kB2 = kB * kB, kSum2 = kA2 + kB2, kProduct2 = kA2 * kB2;
constexpr float kAtZero = 1 / kProduct2, kAtA = 1 / (2 * kA2 * (kA2 - kB2)), kAtB = 1 / (2 * kB2 * (kB2 - kA2));

// Bᵀ·(d0 … d5)
HWY_INLINE void image_line(V32 d0, V32 d1, V32 d2, V32 d3, V32 d4, V32 d5, V32* out) {
  const V32 even_a = hn::NegMulAdd(set(kB2), d2, d4), odd_a = hn::NegMulAdd(set(kB2), d1, d3);
  const V32 even_b = hn::NegMulAdd(set(kA2), d2, d4), odd_b = hn::NegMulAdd(set(kA2), d1, d3);
  out[0] = hn::MulAdd(set(kProduct2), d0, hn::NegMulAdd(set(kSum2), d2, d4));
  out[1] = hn::MulAdd(set(kA), odd_a, even_a);
  out[2] = hn::NegMulAdd(set(kA), odd_a, even_a);
  out[3] = hn::MulAdd(set(kB), odd_b, even_b);
  out[4] = hn::NegMulAdd(set(kB), odd_b, even_b);
  out[5] = hn::MulAdd(set(kProduct2), d1, hn::NegMulAdd(set(kSum2), d3, d5));
}

// Aᵀ·(m0 … m5)
HWY_INLINE void result_line(V32 m0, V32 m1, V32 m2, V32 m3, V32 m4, V32 m5, V32* out) {
  const V32 even_a = hn::Add(m1, m2), odd_a = hn::Sub(m1, m2), even_b = hn::Add(m3, m4), odd_b = hn::Sub(m3, m4);
  out[0] = hn::Add(m0, hn::Add(even_a, even_b));
  out[1] = hn::MulAdd(set(kB), odd_b, hn::Mul(set(kA), odd_a));
  out[2] = hn::MulAdd(set(kB2), even_b, hn::Mul(set(kA2), even_a));
  out[3] = hn::MulAdd(set(kB * kB2), odd_b, hn::MulAdd(set(kA * kA2), odd_a, m5));
}

// A·(y0 … y3)
HWY_INLINE void gradient_line(V32 y0, V32 y1, V32 y2, V32 y3, V32* out) {
  const V32 even_a = hn::MulAdd(set(kA2), y2, y0), odd_a = hn::MulAdd(set(kA2), y3, y1);
  const V32 even_b = hn::MulAdd(set(kB2), y2, y0), odd_b = hn::MulAdd(set(kB2), y3, y1);
  out[0] = y0;
  out[1] = hn::MulAdd(set(kA), odd_a, even_a);
  out[2] = hn::NegMulAdd(set(kA), odd_a, even_a);
  out[3] = hn::MulAdd(set(kB), odd_b, even_b);
  out[4] = hn::NegMulAdd(set(kB), odd_b, even_b);
  out[5] = y3;
}

// G·(g0, g1, g2)
HWY_INLINE void weight_line(V32 g0, V32 g1, V32 g2, V32* out) {
  const V32 even_a = hn::Mul(set(kAtA), hn::MulAdd(set(kA2), g2, g0)), odd_a = hn::Mul(set(kAtA * kA), g1);
  const V32 even_b = hn::Mul(set(kAtB), hn::MulAdd(set(kB2), g2, g0)), odd_b = hn::Mul(set(kAtB * kB), g1);
  out[0] = hn::Mul(set(kAtZero), g0);
  out[1] = hn::Add(even_a, odd_a);
  out[2] = hn::Sub(even_a, odd_a);
  out[3] = hn::Add(even_b, odd_b);
  out[4] = hn::Sub(even_b, odd_b);
  out[5] = g2;
}

// Gᵀ·(u0 … u5)
HWY_INLINE void weight_gradient_line(V32 u0, V32 u1, V32 u2, V32 u3, V32 u4, V32 u5, V32* out) {
  const V32 even_a = hn::Mul(set(kAtA), hn::Add(u1, u2)), odd_a = hn::Mul(set(kAtA * kA), hn::Sub(u1, u2));
  const V32 even_b = hn::Mul(set(kAtB), hn::Add(u3, u4)), odd_b = hn::Mul(set(kAtB * kB), hn::Sub(u3, u4));
  out[0] = hn::MulAdd(set(kAtZero), u0, hn::Add(even_a, even_b));
  out[1] = hn::Add(odd_a, odd_b);
  out[2] = hn::MulAdd(set(kB2), even_b, hn::MulAdd(set(kA2), even_a, u5));
}

// Which pixels of a piece of an image lie within it: rows [top, bottom) and columns [left, right).
struct Inside {
  int64_t top, bottom, left, right;
  static Inside of(int64_t row, int64_t col, int64_t side, int64_t h, int64_t w) {
    return {std::clamp<int64_t>(-row, 0, side), std::clamp<int64_t>(h - row, 0, side), std::clamp<int64_t>(-col, 0, side),
            std::clamp<int64_t>(w - col, 0, side)};
  }
  bool whole(int64_t side) const { return top == 0 && left == 0 && bottom == side && right == side; }
  bool has(int64_t i, int64_t j) const { return i >= top && i < bottom && j >= left && j < right; }
};

// Bᵀ·d·B of a piece of an image for channels [0, channels): value p of channel c goes to out[p·out_point + c]. `x` points to
// where the piece's first pixel is or would be.
template <class T>
HWY_INLINE void transform_image(float* HWY_RESTRICT out, int64_t out_point, const T* x, int64_t x_row, int64_t x_col,
                                Inside inside, int64_t channels) {
  const F32 d;
  const bool whole = inside.whole(kSpan);
  for (int64_t c = 0; c < channels; c += kLanes) {
    V32 t[kSpan][kSpan];  // columns of d, transformed
    for (int64_t j = 0; j < kSpan; ++j) {
      V32 in[kSpan];
      for (int64_t i = 0; i < kSpan; ++i)
        in[i] = whole || inside.has(i, j) ? load_wide(x + i * x_row + j * x_col + c) : hn::Zero(d);
      image_line(in[0], in[1], in[2], in[3], in[4], in[5], t[j]);
    }
    for (int64_t i = 0; i < kSpan; ++i) {
      V32 line[kSpan];
      image_line(t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i], line);
      for (int64_t j = 0; j < kSpan; ++j) hn::Store(line[j], d, out + (i * kSpan + j) * out_point + c);
    }
  }
}

// Aᵀ·m·A + bias, the way back: value p of channel c of m stands at m[p·m_point + c].
template <class T>
HWY_INLINE void transform_result(T* y, int64_t y_row, int64_t y_col, Inside inside, const float* HWY_RESTRICT m, int64_t m_point,
                                 const T* bias, int64_t channels) {
  const F32 d;
  const bool whole = inside.whole(kTile);
  for (int64_t c = 0; c < channels; c += kLanes) {
    V32 t[kSpan][kTile];
    for (int64_t i = 0; i < kSpan; ++i) {
      const float* line = m + i * kSpan * m_point + c;
      result_line(hn::Load(d, line), hn::Load(d, line + m_point), hn::Load(d, line + 2 * m_point),
                  hn::Load(d, line + 3 * m_point), hn::Load(d, line + 4 * m_point), hn::Load(d, line + 5 * m_point), t[i]);
    }
    const V32 shift = bias ? load_wide(bias + c) : hn::Zero(d);
    for (int64_t j = 0; j < kTile; ++j) {
      V32 line[kTile];
      result_line(t[0][j], t[1][j], t[2][j], t[3][j], t[4][j], t[5][j], line);
      for (int64_t i = 0; i < kTile; ++i)
        if (whole || inside.has(i, j)) store_narrow(hn::Add(line[i], shift), y + i * y_row + j * y_col + c);
    }
  }
}

// A·dy·Aᵀ of a tile of the gradient, laid out as by transform_image; adds the tile's values to sums[c] where sums are wanted.
template <class T>
HWY_INLINE void transform_gradient(float* HWY_RESTRICT out, int64_t out_point, float* sums, const T* dy, int64_t dy_row,
                                   int64_t dy_col, Inside inside, int64_t channels) {
  const F32 d;
  const bool whole = inside.whole(kTile);
  for (int64_t c = 0; c < channels; c += kLanes) {
    V32 t[kTile][kSpan];
    V32 sum = hn::Zero(d);
    for (int64_t j = 0; j < kTile; ++j) {
      V32 in[kTile];
      for (int64_t i = 0; i < kTile; ++i)
        in[i] = whole || inside.has(i, j) ? load_wide(dy + i * dy_row + j * dy_col + c) : hn::Zero(d);
      gradient_line(in[0], in[1], in[2], in[3], t[j]);
      sum = hn::Add(sum, hn::Add(hn::Add(in[0], in[1]), hn::Add(in[2], in[3])));
    }
    if (sums) hn::StoreU(hn::Add(hn::LoadU(d, sums + c), sum), d, sums + c);
    for (int64_t i = 0; i < kSpan; ++i) {
      V32 line[kSpan];
      gradient_line(t[0][i], t[1][i], t[2][i], t[3][i], line);
      for (int64_t j = 0; j < kSpan; ++j) hn::Store(line[j], d, out + (i * kSpan + j) * out_point + c);
    }
  }
}

// kRows rows times kVectors vectors of c = a·b, or c += a·b. Element k of row r of a stands at a[r·a_row + k·a_step].
template <int kRows, int kVectors, bool kAdd>
HWY_INLINE void product_tile(float* HWY_RESTRICT c, int64_t c_row, const float* HWY_RESTRICT a, int64_t a_row, int64_t a_step,
                             const float* HWY_RESTRICT b, int64_t b_row, int64_t depth) {
  const F32 d;
  V32 acc[kRows][kVectors];
  HWY_UNROLL(16)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(4)
    for (int v = 0; v < kVectors; ++v) acc[r][v] = kAdd ? hn::Load(d, c + r * c_row + v * kLanes) : hn::Zero(d);
  }
  for (int64_t k = 0; k < depth; ++k) {
    V32 right[kVectors];
    HWY_UNROLL(4)
    for (int v = 0; v < kVectors; ++v) right[v] = hn::Load(d, b + k * b_row + v * kLanes);
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) {
      const V32 left = set(a[r * a_row + k * a_step]);
      HWY_UNROLL(4)
      for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::MulAdd(left, right[v], acc[r][v]);
    }
  }
  HWY_UNROLL(16)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(4)
    for (int v = 0; v < kVectors; ++v) hn::Store(acc[r][v], d, c + r * c_row + v * kLanes);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#endif  // STAR_CPU_WINOGRAD_INL_H_
