// Winograd's convolution and its gradient with respect to the image, which is the convolution of dy with the weights turned
// around. A block of tiles is transformed, multiplied and transformed back while it is in the cache.
#include "cpu/vector_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/winograd.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include "cpu/dnnl_support.h"
#include "cpu/parallel.h"
#include "cpu/scratch.h"
#include "cpu/winograd-inl.h"
#include "cpu/winograd.h"

#ifndef STAR_CPU_WINOGRAD_TYPES_
#define STAR_CPU_WINOGRAD_TYPES_
namespace star {
// y (n, oh, ow, k) = conv(x (n, h, w, c), transformed weights) + bias, rows and columns of zeros before the image.
struct WinogradMap {
  const void *x, *bias;
  void* y;
  DType dtype;
  int64_t n, h, w, c, oh, ow, k, pad_top, pad_left;
  int64_t tile_rows() const { return (oh + kTile - 1) / kTile; }
  int64_t tile_cols() const { return (ow + kTile - 1) / kTile; }
  int64_t tiles() const { return n * tile_rows() * tile_cols(); }
};
// Where the weight from input channel c to output channel k stands: weight[c·c_step + k·k_step], nine values.
struct WinogradWeights {
  const void* weight;
  DType dtype;
  int64_t c, k, c_step, k_step;
  bool turned;  // by half a turn
};
}  // namespace star
#endif

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

// Columns of the products that are computed, and lie in memory, together.
constexpr int64_t kWide = kLanes >= 16 ? 4 * kLanes : 2 * kLanes;
constexpr int kWideRows = 6, kNarrowRows = kLanes >= 16 ? 12 : 6;

// Calls f(first, width) for the blocks of columns that k columns are cut into.
template <class F>
HWY_INLINE void for_columns(int64_t k, const F& f) {
  int64_t first = 0;
  for (int64_t width = kWide; width >= kLanes; width /= 2)
    for (; first + width <= k; first += width) f(first, width);
}

// G·g·Gᵀ for kLanes output channels from `k` on: value p stands at u[p·c·k + c·first + channel·width + column].
template <class T>
void transform_weights_of(float* u, const WinogradWeights& w, int64_t first, int64_t width, int64_t column) {
  const F32 d;
  const auto weight = static_cast<const T*>(w.weight);
  HWY_ALIGN float buffer[9][kLanes];
  for (int64_t c = 0; c < w.c; ++c) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const T* nine = weight + c * w.c_step + (first + column + lane) * w.k_step;
      for (int64_t i = 0; i < 9; ++i) widen_range(&buffer[w.turned ? 8 - i : i][lane], nine + i, 1);
    }
    V32 t[3][kSpan];
    for (int j = 0; j < 3; ++j) weight_line(hn::Load(d, buffer[j]), hn::Load(d, buffer[3 + j]), hn::Load(d, buffer[6 + j]), t[j]);
    for (int64_t i = 0; i < kSpan; ++i) {
      V32 line[kSpan];
      weight_line(t[0][i], t[1][i], t[2][i], line);
      for (int64_t j = 0; j < kSpan; ++j)
        hn::Store(line[j], d, u + (i * kSpan + j) * w.c * w.k + w.c * first + c * width + column);
    }
  }
}

// For the output channels [begin, end), multiples of 16.
void transform_weights(float* u, const WinogradWeights& w, int64_t begin, int64_t end) {
  with_float_type(w.dtype, "conv2d", [&](auto tag) {
    for_columns(w.k, [&](int64_t first, int64_t width) {
      for (int64_t column = 0; column < width; column += kLanes)
        if (first + column >= begin && first + column < end) transform_weights_of<decltype(tag)>(u, w, first, width, column);
    });
  });
}

// Tiles [begin, end), at most `block` of them.
template <class T>
void convolve_tiles_of(const WinogradMap& m, const float* u, int64_t begin, int64_t end, int64_t block, Scratch& scratch) {
  float* v = scratch.floats("conv2d", static_cast<size_t>(kPoints * block * (m.c + m.k)));
  float* products = v + kPoints * block * m.c;
  const int64_t cols = m.tile_cols(), per_image = m.tile_rows() * cols;
  const auto at = [&](int64_t tile, const auto& f) { f(tile / per_image, tile % per_image / cols * kTile, tile % cols * kTile); };
  const auto x = static_cast<const T*>(m.x);
  for (int64_t tile = begin; tile < end; ++tile)
    at(tile, [&](int64_t n, int64_t row, int64_t col) {
      row -= m.pad_top, col -= m.pad_left;
      transform_image(v + (tile - begin) * m.c, block * m.c, x + ((n * m.h + row) * m.w + col) * m.c, m.w * m.c, m.c,
                      Inside::of(row, col, kSpan, m.h, m.w), m.c);
    });

  const int64_t rows = (end - begin + kNarrowRows - 1) / kNarrowRows * kNarrowRows;
  for (int64_t p = 0; p < kPoints; ++p)
    for_columns(m.k, [&](int64_t first, int64_t width) {
      const float* right = u + p * m.c * m.k + m.c * first;
      for (int64_t r = 0; r < rows; r += width == kWide ? kWideRows : kNarrowRows) {
        const float* left = v + (p * block + r) * m.c;
        float* out = products + (p * block + r) * m.k + first;
        if (width == kWide)
          product_tile<kWideRows, kWide / kLanes, false>(out, m.k, left, m.c, 1, right, width, m.c);
        else if (width == 2 * kLanes)
          product_tile<kNarrowRows, 2, false>(out, m.k, left, m.c, 1, right, width, m.c);
        else
          product_tile<kNarrowRows, 1, false>(out, m.k, left, m.c, 1, right, width, m.c);
      }
    });

  const auto y = static_cast<T*>(m.y);
  const auto bias = static_cast<const T*>(m.bias);
  for (int64_t tile = begin; tile < end; ++tile)
    at(tile, [&](int64_t n, int64_t row, int64_t col) {
      transform_result(y + ((n * m.oh + row) * m.ow + col) * m.k, m.ow * m.k, m.k, Inside::of(row, col, kTile, m.oh, m.ow),
                       products + (tile - begin) * m.k, block * m.k, bias, m.k);
    });
}

void convolve_tiles(const WinogradMap& m, const float* u, int64_t begin, int64_t end, int64_t block, Scratch& scratch) {
  with_float_type(m.dtype, "conv2d", [&](auto tag) { convolve_tiles_of<decltype(tag)>(m, u, begin, end, block, scratch); });
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {
HWY_EXPORT(transform_weights);
HWY_EXPORT(convolve_tiles);

// Tiles of a block, a multiple of what the products take at a time. Their pieces stay in the second-level cache; with many
// channels the weights come from farther away, and more tiles share them. Few tiles are cut finer, so that threads share them.
int64_t block_of(int64_t c, int64_t k, int64_t tiles) {
  const int64_t block = c + k > 160 && c + k <= 320 ? 24 : 48;
  return tiles < 8 * block ? 24 : block;
}

void convolve(CachingAllocator& allocator, const WinogradMap& map, const WinogradWeights& weights) {
  const size_t bytes = static_cast<size_t>(kPoints * map.c * map.k) * sizeof(float);
  Workspace transformed(allocator, bytes);
  const auto u = static_cast<float*>(transformed.data());
  parallel_chunks(map.k, 16, [&](int64_t, int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(transform_weights)(u, weights, begin, end);
  });
  const int64_t block = block_of(map.c, map.k, map.tiles());
  parallel_chunks(map.tiles(), block, [&](int64_t, int64_t begin, int64_t end) {
    thread_local Scratch scratch;
    HWY_DYNAMIC_DISPATCH(convolve_tiles)(map, u, begin, end, block, scratch);
  });
}
}  // namespace

bool winograd_fits(const ConvShape& s) {
  if (s.kh != 3 || s.kw != 3 || s.stride != 1 || s.groups != 1 || s.c_in % 16 || s.c_out % 16) return false;
  for (const int64_t pad : {s.pad_top, s.pad_left, s.pad_bottom, s.pad_right})
    if (pad > 2) return false;
  // Transforming the weights must pay, whose pieces leave the cache where there are many channels; and tiles that hang over the
  // edge waste what they do not use.
  const int64_t tiles = s.n * ((s.oh + kTile - 1) / kTile) * ((s.ow + kTile - 1) / kTile);
  return tiles >= (s.c_in * s.c_out <= 4096 ? 64 : 128) && tiles * kTile * kTile <= 2 * s.n * s.oh * s.ow;
}

void winograd_forward(CachingAllocator& allocator, const Conv2dArgs& a) {
  const ConvShape& s = a.s;
  convolve(allocator,
           {a.x.data, a.bias.data, a.y.data, a.x.dtype, s.n, s.h, s.w, s.c_in, s.oh, s.ow, s.c_out, s.pad_top, s.pad_left},
           {a.weight.data, a.weight.dtype, s.c_in, s.c_out, 9, 9 * s.c_in, false});
}

void winograd_backward_data(CachingAllocator& allocator, const Conv2dBackwardDataArgs& a) {
  const ConvShape& s = a.s;
  convolve(allocator,
           {a.dy.data, nullptr, a.dx.data, a.dy.dtype, s.n, s.oh, s.ow, s.c_out, s.h, s.w, s.c_in, 2 - s.pad_top, 2 - s.pad_left},
           {a.weight.data, a.weight.dtype, s.c_out, s.c_in, 9 * s.c_in, 9, true});
}

}  // namespace star
#endif  // HWY_ONCE
