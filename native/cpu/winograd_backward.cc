// The gradient of Winograd's convolution with respect to the weights and the bias. Tiles are cut into segments, and channels into
// blocks whose sums stay in the cache; the sums of the segments are added in order, so that a result does not depend on threads.
#include "cpu/vector_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/winograd_backward.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include "cpu/dnnl_support.h"
#include "cpu/parallel.h"
#include "cpu/scratch.h"
#include "cpu/winograd-inl.h"
#include "cpu/winograd.h"

#ifndef STAR_CPU_WINOGRAD_BACKWARD_TYPES_
#define STAR_CPU_WINOGRAD_BACKWARD_TYPES_
namespace star {
// One share of the work: some tiles, input channels [c, c + cs) and output channels [k, k + ks).
struct WinogradShare {
  int64_t begin, end, c, cs, k, ks;
  float* sums;       // of the weights, at [(position·c_in + c)·c_out + k], nine positions
  float* bias_sums;  // (c_out), null where another share has them
};
}  // namespace star
#endif

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

constexpr int kRows = kLanes >= 16 ? 8 : 4;

template <class T>
void weight_sums_of(const Conv2dBackwardWeightArgs& a, const WinogradShare& share, int64_t block, Scratch& scratch) {
  const F32 d;
  const ConvShape& s = a.s;
  const auto [begin, end, c0, cs, k0, ks, sums, bias_sums] = share;
  float* u = scratch.floats("conv2d_backward_weight", static_cast<size_t>(kPoints * (cs * ks + block * (cs + ks))));
  float* v = u + kPoints * cs * ks;
  float* w = v + kPoints * block * cs;
  std::memset(u, 0, static_cast<size_t>(kPoints * cs * ks) * sizeof(float));
  if (bias_sums) std::memset(bias_sums + k0, 0, static_cast<size_t>(ks) * sizeof(float));

  const int64_t cols = (s.ow + kTile - 1) / kTile, per_image = (s.oh + kTile - 1) / kTile * cols;
  const auto x = static_cast<const T*>(a.x.data) + c0;
  const auto dy = static_cast<const T*>(a.dy.data) + k0;
  for (int64_t first = begin; first < end; first += block) {
    const int64_t count = std::min(block, end - first);
    for (int64_t t = 0; t < count; ++t) {
      const int64_t tile = first + t, n = tile / per_image;
      const int64_t row = tile % per_image / cols * kTile, col = tile % cols * kTile;
      const int64_t top = row - s.pad_top, left = col - s.pad_left;
      transform_image(v + t * cs, block * cs, x + ((n * s.h + top) * s.w + left) * s.c_in, s.w * s.c_in, s.c_in,
                      Inside::of(top, left, kSpan, s.h, s.w), cs);
      transform_gradient(w + t * ks, block * ks, bias_sums ? bias_sums + k0 : nullptr,
                         dy + ((n * s.oh + row) * s.ow + col) * s.c_out, s.ow * s.c_out, s.c_out,
                         Inside::of(row, col, kTile, s.oh, s.ow), ks);
    }
    for (int64_t p = 0; p < kPoints; ++p)
      for (int64_t k = 0; k < ks; k += std::min<int64_t>(2 * kLanes, ks - k))
        for (int64_t c = 0; c < cs; c += kRows) {
          float* out = u + (p * cs + c) * ks + k;
          const float *left = v + p * block * cs + c, *right = w + p * block * ks + k;
          if (ks - k >= 2 * kLanes)
            product_tile<kRows, 2, true>(out, ks, left, 1, cs, right, ks, count);
          else
            product_tile<kRows, 1, true>(out, ks, left, 1, cs, right, ks, count);
        }
  }

  for (int64_t c = 0; c < cs; ++c)
    for (int64_t k = 0; k < ks; k += kLanes) {
      V32 t[kSpan][3];
      for (int64_t i = 0; i < kSpan; ++i) {
        const auto at = [&](int64_t j) HWY_ATTR { return hn::Load(d, u + ((i * kSpan + j) * cs + c) * ks + k); };
        weight_gradient_line(at(0), at(1), at(2), at(3), at(4), at(5), t[i]);
      }
      for (int64_t j = 0; j < 3; ++j) {
        V32 line[3];
        weight_gradient_line(t[0][j], t[1][j], t[2][j], t[3][j], t[4][j], t[5][j], line);
        for (int64_t i = 0; i < 3; ++i) hn::StoreU(line[i], d, sums + ((i * 3 + j) * s.c_in + c0 + c) * s.c_out + k0 + k);
      }
    }
}

void weight_sums(const Conv2dBackwardWeightArgs& a, const WinogradShare& share, int64_t block, Scratch& scratch) {
  with_float_type(a.x.dtype, "conv2d_backward_weight",
                  [&](auto tag) { weight_sums_of<decltype(tag)>(a, share, block, scratch); });
}

// dweight of input channel c from the sums of all segments, each `segment` floats.
template <class T>
void finish_weights_of(const Conv2dBackwardWeightArgs& a, const float* sums, int64_t segments, int64_t segment, int64_t c,
                       Scratch& scratch) {
  const F32 d;
  const ConvShape& s = a.s;
  float* total = scratch.floats("conv2d_backward_weight", static_cast<size_t>(9 * s.c_out));
  for (int64_t i = 0; i < 9; ++i)
    for (int64_t k = 0; k < s.c_out; k += kLanes) {
      const float* from = sums + (i * s.c_in + c) * s.c_out + k;
      V32 sum = hn::LoadU(d, from);
      for (int64_t n = 1; n < segments; ++n) sum = hn::Add(sum, hn::LoadU(d, from + n * segment));
      hn::StoreU(sum, d, total + i * s.c_out + k);
    }
  const auto dweight = static_cast<T*>(a.dweight.data);
  for (int64_t k = 0; k < s.c_out; ++k)
    for (int64_t i = 0; i < 9; ++i) narrow_range(dweight + (k * s.c_in + c) * 9 + i, total + i * s.c_out + k, 1);
}

void finish_weights(const Conv2dBackwardWeightArgs& a, const float* sums, int64_t segments, int64_t segment, int64_t c,
                    Scratch& scratch) {
  with_float_type(a.x.dtype, "conv2d_backward_weight",
                  [&](auto tag) { finish_weights_of<decltype(tag)>(a, sums, segments, segment, c, scratch); });
}

void finish_bias(const Ref& dbias, const float* sums, int64_t segments, int64_t segment, int64_t count) {
  with_float_type(dbias.dtype, "conv2d_backward_weight", [&](auto tag) {
    for (int64_t k = 0; k < count; ++k) {
      float sum = 0;
      for (int64_t n = 0; n < segments; ++n) sum += sums[n * segment + k];
      narrow_range(static_cast<decltype(tag)*>(dbias.data) + k, &sum, 1);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {
HWY_EXPORT(weight_sums);
HWY_EXPORT(finish_weights);
HWY_EXPORT(finish_bias);

constexpr int64_t kInputBlock = 64, kOutputBlock = 128;  // channels whose sums and pieces fit the second-level cache
constexpr int64_t kShares = 32;                          // wanted, so that many threads find work
}  // namespace

void winograd_backward_weight(CachingAllocator& allocator, const Conv2dBackwardWeightArgs& a) {
  const ConvShape& s = a.s;
  const int64_t tiles = s.n * ((s.oh + kTile - 1) / kTile) * ((s.ow + kTile - 1) / kTile);
  const int64_t block = s.c_in + s.c_out <= 64 ? 48 : 24;
  const int64_t inputs = (s.c_in + kInputBlock - 1) / kInputBlock, outputs = (s.c_out + kOutputBlock - 1) / kOutputBlock;
  const int64_t segments = std::clamp<int64_t>(kShares / (inputs * outputs), 1, std::max<int64_t>(1, tiles / (2 * block)));
  const int64_t weights = 9 * s.c_in * s.c_out, segment = weights + s.c_out;
  Workspace workspace(allocator, static_cast<size_t>(segments * segment) * sizeof(float));
  const auto sums = static_cast<float*>(workspace.data());
  parallel_chunks(segments * inputs * outputs, 1, [&](int64_t i, int64_t, int64_t) {
    const int64_t n = i / (inputs * outputs), c = i / outputs % inputs * kInputBlock, k = i % outputs * kOutputBlock;
    float* own = sums + n * segment;
    thread_local Scratch scratch;
    const WinogradShare share{n * tiles / segments,
                              (n + 1) * tiles / segments,
                              c,
                              std::min(kInputBlock, s.c_in - c),
                              k,
                              std::min(kOutputBlock, s.c_out - k),
                              own,
                              c == 0 && a.dbias ? own + weights : nullptr};
    HWY_DYNAMIC_DISPATCH(weight_sums)(a, share, block, scratch);
  });
  parallel_for(s.c_in, 8, [&](int64_t begin, int64_t end) {
    thread_local Scratch scratch;
    for (int64_t c = begin; c < end; ++c) HWY_DYNAMIC_DISPATCH(finish_weights)(a, sums, segments, segment, c, scratch);
  });
  if (a.dbias) HWY_DYNAMIC_DISPATCH(finish_bias)(a.dbias, sums + weights, segments, segment, s.c_out);
}

}  // namespace star
#endif  // HWY_ONCE
