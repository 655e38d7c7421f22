#include "io/resize.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "io/resize.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#ifndef STAR_IO_RESIZE_WEIGHTS
#define STAR_IO_RESIZE_WEIGHTS
namespace star {

// Fractional bits of the weights: 32, less 8 of a pixel and 2 for sums beyond its range.
constexpr int kWeightBits = 22;
constexpr int kHalf = 1 << (kWeightBits - 1);

// For each output position the first input position, how many there are, and their fixed-point weights, `taps` apart.
struct ResizeWeights {
  std::vector<int> first, count;
  std::vector<int32_t> values;
  int taps;
};

}  // namespace star
#endif

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One row: out pixel i = Σ_k weight[i][k] · in pixel (first[i] + k). `in` has a readable byte behind its last pixel. A pixel is
// four lanes, of which the last is thrown away.
void resize_row(const uint8_t* in, const ResizeWeights& w, int to, bool mirrored, uint8_t* out) {
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<int32_t, 4> d;
  const hn::FixedTag<uint8_t, 4> bytes;
#endif
  HWY_ALIGN uint8_t pixel[4];
  for (int i = 0; i < to; ++i) {
    const int32_t* weight = w.values.data() + static_cast<size_t>(i) * w.taps;
    const uint8_t* at = in + w.first[i] * 3;
#if HWY_TARGET == HWY_SCALAR
    int32_t sums[3] = {kHalf, kHalf, kHalf};
    for (int k = 0; k < w.count[i]; ++k, at += 3)
      for (int c = 0; c < 3; ++c) sums[c] += weight[k] * at[c];
    for (int c = 0; c < 3; ++c) pixel[c] = static_cast<uint8_t>(std::clamp(sums[c] >> kWeightBits, 0, 255));
#else
    auto even = hn::Set(d, kHalf), odd = hn::Zero(d);
    int k = 0;
    for (; k + 2 <= w.count[i]; k += 2, at += 6) {
      even = hn::Add(even, hn::Mul(hn::PromoteTo(d, hn::LoadU(bytes, at)), hn::Set(d, weight[k])));
      odd = hn::Add(odd, hn::Mul(hn::PromoteTo(d, hn::LoadU(bytes, at + 3)), hn::Set(d, weight[k + 1])));
    }
    if (k < w.count[i]) even = hn::Add(even, hn::Mul(hn::PromoteTo(d, hn::LoadU(bytes, at)), hn::Set(d, weight[k])));
    hn::StoreU(hn::DemoteTo(bytes, hn::ShiftRight<kWeightBits>(hn::Add(even, odd))), bytes, pixel);
#endif
    std::memcpy(out + 3 * (mirrored ? to - 1 - i : i), pixel, 3);
  }
}

// out[x] = Σ_k weight[k] · rows[k][x], x < bytes; the rows lie `bytes` apart.
void blend_rows(const uint8_t* rows, const int32_t* weight, int count, int bytes, uint8_t* out) {
  const hn::ScalableTag<int32_t> d;
  const hn::Rebind<uint8_t, decltype(d)> narrow;
  const int lanes = static_cast<int>(hn::Lanes(d));
  int x = 0;
  for (; x + lanes <= bytes; x += lanes) {
    auto sum = hn::Set(d, kHalf);
    const uint8_t* at = rows + x;
    for (int k = 0; k < count; ++k, at += bytes)
      sum = hn::Add(sum, hn::Mul(hn::PromoteTo(d, hn::LoadU(narrow, at)), hn::Set(d, weight[k])));
    hn::StoreU(hn::DemoteTo(narrow, hn::ShiftRight<kWeightBits>(sum)), narrow, out + x);
  }
  for (; x < bytes; ++x) {
    int32_t sum = kHalf;
    for (int k = 0; k < count; ++k) sum += weight[k] * rows[static_cast<size_t>(k) * bytes + x];
    out[x] = static_cast<uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

HWY_EXPORT(resize_row);
HWY_EXPORT(blend_rows);

namespace {

constexpr int kLobes = 3;

double lanczos(double x) {
  if (x == 0) return 1;
  if (x < -kLobes || x >= kLobes) return 0;
  const double a = x * std::numbers::pi;
  return (std::sin(a) / a) * (std::sin(a / kLobes) / (a / kLobes));
}

ResizeWeights weights_for(int from, int to) {
  const double scale = static_cast<double>(from) / to, filter_scale = std::max(scale, 1.0), support = kLobes * filter_scale;
  const int taps = static_cast<int>(std::ceil(support)) * 2 + 1;
  ResizeWeights w{std::vector<int>(to), std::vector<int>(to), std::vector<int32_t>(static_cast<size_t>(to) * taps), taps};
  std::vector<double> exact(taps);
  for (int i = 0; i < to; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(centre - support + 0.5));
    const int count = std::min(from, static_cast<int>(centre + support + 0.5)) - first;
    double sum = 0;
    for (int k = 0; k < count; ++k) sum += exact[k] = lanczos((k + first - centre + 0.5) / filter_scale);
    for (int k = 0; k < count; ++k) {
      const double value = exact[k] / sum * (1 << kWeightBits);
      w.values[static_cast<size_t>(i) * taps + k] = static_cast<int32_t>(value < 0 ? value - 0.5 : value + 0.5);
    }
    w.first[i] = first;
    w.count[i] = count;
  }
  return w;
}

}  // namespace

void resize_lanczos(const uint8_t* rgb, int row_pixels, const ResizeWindow& window, int to_width, int to_height, bool mirrored,
                    uint8_t* out) {
  const size_t line = static_cast<size_t>(to_width) * 3;
  std::vector<uint8_t> wide;  // (window.height, to_width, 3)
  if (to_height != window.height) wide.resize(window.height * line);
  uint8_t* const middle = wide.empty() ? out : wide.data();
  const bool copies = to_width == window.width && !mirrored;
  const ResizeWeights across = copies ? ResizeWeights{} : weights_for(window.width, to_width);
  std::vector<uint8_t> row(static_cast<size_t>(window.width) * 3 + 1);
  for (int y = 0; y < window.height; ++y) {
    const uint8_t* const source = rgb + (static_cast<size_t>(window.top + y) * row_pixels + window.left) * 3;
    if (copies) {
      std::memcpy(middle + y * line, source, line);
      continue;
    }
    std::memcpy(row.data(), source, row.size() - 1);
    HWY_DYNAMIC_DISPATCH(resize_row)(row.data(), across, to_width, mirrored, middle + y * line);
  }
  if (wide.empty()) return;
  const ResizeWeights down = weights_for(window.height, to_height);
  for (int y = 0; y < to_height; ++y) HWY_DYNAMIC_DISPATCH(blend_rows)
  (middle + down.first[y] * line, down.values.data() + static_cast<size_t>(y) * down.taps, down.count[y], static_cast<int>(line),
   out + y * line);
}

}  // namespace star
#endif
