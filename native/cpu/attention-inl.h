// What both directions of attention share, once per instruction set: the register-tiled product of two blocks, the power of
// two, and the packing of rows. Include it after <hwy/foreach_target.h>.
#if defined(STAR_CPU_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STAR_CPU_ATTENTION_INL_H_
#undef STAR_CPU_ATTENTION_INL_H_
#else
#define STAR_CPU_ATTENTION_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "cpu/half-inl.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(F32());
constexpr int kGroup = kLanes >= 16 ? 8 : kLanes >= 4 ? 4 : 1;  // rows of a register tile: two vectors a row fill the registers
constexpr int64_t kQueries = 64, kKeys = 64;  // a tile of scores; blocks of this size stay in the first-level cache
constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147181f;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

HWY_INLINE int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
HWY_INLINE int64_t padded_dim(int64_t head_dim) { return round_up(head_dim, kLanes); }

enum class Into { Set, Add, ScaleAdd };  // c = a·b, c += a·b, c = factor[row]·c + a·b

// kGroup rows times kVectors vectors of c. Row r of a starts at a + r·a_row, its elements lie a_step apart.
template <int kVectors, Into kInto>
HWY_INLINE void product_tile(float* HWY_RESTRICT c, int64_t c_row, const float* HWY_RESTRICT a, int64_t a_row, int64_t a_step,
                             const float* HWY_RESTRICT b, int64_t b_row, int64_t depth, const float* factor) {
  const F32 d;
  V32 acc[kGroup][kVectors];
  HWY_UNROLL(8)
  for (int r = 0; r < kGroup; ++r) {
    HWY_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (kInto == Into::Set)
        acc[r][v] = hn::Zero(d);
      else if constexpr (kInto == Into::Add)
        acc[r][v] = hn::Load(d, c + r * c_row + v * kLanes);
      else
        acc[r][v] = hn::Mul(set(factor[r]), hn::Load(d, c + r * c_row + v * kLanes));
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    V32 right[kVectors];
    HWY_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) right[v] = hn::Load(d, b + k * b_row + v * kLanes);
    HWY_UNROLL(8)
    for (int r = 0; r < kGroup; ++r) {
      const V32 left = set(a[r * a_row + k * a_step]);
      HWY_UNROLL(2)
      for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::MulAdd(left, right[v], acc[r][v]);
    }
  }
  HWY_UNROLL(8)
  for (int r = 0; r < kGroup; ++r) {
    HWY_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) hn::Store(acc[r][v], d, c + r * c_row + v * kLanes);
  }
}

// kGroup rows of c, `columns` wide (whole vectors). a_step is fixed at compile time: 1 for rows, kStep for columns of a block.
template <Into kInto, int64_t kStep>
HWY_INLINE void product_rows(float* c, int64_t c_row, const float* a, int64_t a_row, const float* b, int64_t b_row, int64_t depth,
                             int64_t columns, const float* factor = nullptr) {
  int64_t j = 0;
  for (; j + 2 * kLanes <= columns; j += 2 * kLanes)
    product_tile<2, kInto>(c + j, c_row, a, a_row, kStep, b + j, b_row, depth, factor);
  if (j < columns) product_tile<1, kInto>(c + j, c_row, a, a_row, kStep, b + j, b_row, depth, factor);
}

// Copies `rows` rows of `dim` elements to rows of `width`, times `factor`, and fills up with zeros to `padded_rows`.
template <class T>
HWY_INLINE void pack_rows(float* to, int64_t width, const T* from, int64_t from_row, int64_t rows, int64_t padded_rows,
                          int64_t dim, float factor) {
  const F32 d;
  const V32 scale = set(factor);
  for (int64_t r = 0; r < rows; ++r) {
    float* out = to + r * width;
    const float* row = as_floats(from + r * from_row, out, dim);
    int64_t c = 0;
    for (; c + kLanes <= dim; c += kLanes) hn::Store(hn::Mul(scale, hn::LoadU(d, row + c)), d, out + c);
    if (c < dim) hn::Store(hn::Mul(scale, load_first(row + c, dim - c)), d, out + c);
  }
  std::memset(to + rows * width, 0, static_cast<size_t>((padded_rows - rows) * width) * sizeof(float));
}

// Tiles of kKeys rows, each transposed: to[tile][c][j] = from[tile·kKeys + j][c], zeros behind the last row.
template <class T>
HWY_INLINE void pack_transposed(float* to, const T* from, int64_t from_row, int64_t rows, int64_t dim) {
  constexpr int64_t kPart = 64;
  float buffer[kPart];
  for (int64_t begin = 0; begin < rows; begin += kKeys, to += dim * kKeys) {
    const int64_t count = std::min(kKeys, rows - begin);
    if (count < kKeys) std::memset(to, 0, static_cast<size_t>(dim * kKeys) * sizeof(float));
    for (int64_t j = 0; j < count; ++j) {
      const T* row = from + (begin + j) * from_row;
      for (int64_t part = 0; part < dim; part += kPart) {
        const int64_t end = std::min(dim, part + kPart);
        const float* floats = as_floats(row + part, buffer, end - part);
        for (int64_t c = part; c < end; ++c) to[c * kKeys + j] = floats[c - part];
      }
    }
  }
}

// Keys of the tile that begins at `begin` a query may see, given its limit.
HWY_INLINE int64_t visible(int64_t limit, int64_t begin) { return std::clamp<int64_t>(limit - begin, 0, kKeys); }

// Takes keys from `count` on, and those the mask (0 or −∞ a key) excludes, out of a row of scores `width` wide.
HWY_INLINE void mask_scores(float* scores, int64_t count, int64_t width, const float* mask) {
  if (mask)
    for (int64_t j = 0; j < count; ++j) scores[j] += mask[j];
  std::fill(scores + count, scores + width, -kInfinity);
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#endif  // STAR_CPU_ATTENTION_INL_H_
