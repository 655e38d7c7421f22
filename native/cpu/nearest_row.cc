// The nearest codebook row of each vector: a register-tiled matrix product whose tiles are reduced to running minima at once.
#include "cpu/vector_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/nearest_row.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include <cstring>
#include <limits>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/widen.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::ScalableTag<float>;
using I = hn::RebindToSigned<F>;
constexpr int64_t kLanes = hn::MaxLanes(F());
constexpr int64_t kPanel = 2 * kLanes;       // codebook rows a tile compares at once
constexpr int kTile = kLanes >= 16 ? 8 : 4;  // vectors x a tile compares at once
constexpr int64_t kBlock = 8 * kTile;        // vectors that share one sweep over the codebook

int64_t nearest_panel() { return kPanel; }
int64_t nearest_block() { return kBlock; }

float square_sum(const float* x, int64_t cols) {
  float sum = 0.0f;
  for (int64_t c = 0; c < cols; ++c) sum += x[c] * x[c];
  return sum;
}

// Panels of kPanel codebook rows, transposed: panels[p][c][j] = codebook[p·kPanel + j][c], and norms[v] = ‖codebook_v‖².
// Rows that fill up the last panel have an infinite norm, so that they are never nearest.
void nearest_pack(float* panels, float* norms, const float* codebook, int64_t begin, int64_t end, int64_t vocab, int64_t cols) {
  for (int64_t p = begin; p < end; ++p) {
    float* panel = panels + p * kPanel * cols;
    for (int64_t j = 0; j < kPanel; ++j) {
      const int64_t v = p * kPanel + j;
      const float* row = codebook + v * cols;
      for (int64_t c = 0; c < cols; ++c) panel[c * kPanel + j] = v < vocab ? row[c] : 0.0f;
      norms[v] = v < vocab ? square_sum(row, cols) : std::numeric_limits<float>::infinity();
    }
  }
}

// Running minima of kTile vectors against one panel.
HWY_INLINE void nearest_tile(const float* HWY_RESTRICT x, const float* x_norms, int64_t cols, const float* HWY_RESTRICT panel,
                             const float* norms, int32_t first, float* best, int32_t* best_index) {
  const F d;
  const I di;
  hn::Vec<F> low[kTile], high[kTile];
  HWY_UNROLL(8)
  for (int r = 0; r < kTile; ++r) low[r] = high[r] = hn::Zero(d);
  for (int64_t c = 0; c < cols; ++c) {
    const auto e0 = hn::Load(d, panel + c * kPanel), e1 = hn::Load(d, panel + c * kPanel + kLanes);
    HWY_UNROLL(8)
    for (int r = 0; r < kTile; ++r) {
      const auto value = hn::Set(d, x[r * cols + c]);
      low[r] = hn::MulAdd(value, e0, low[r]);
      high[r] = hn::MulAdd(value, e1, high[r]);
    }
  }
  const auto minus_two = hn::Set(d, -2.0f);
  const auto norm0 = hn::Load(d, norms), norm1 = hn::Load(d, norms + kLanes);
  const auto index0 = hn::Iota(di, first), index1 = hn::Iota(di, first + static_cast<int32_t>(kLanes));
  HWY_UNROLL(8)
  for (int r = 0; r < kTile; ++r) {
    const auto x_norm = hn::Set(d, x_norms[r]);
    const auto d0 = hn::MulAdd(minus_two, low[r], hn::Add(x_norm, norm0));
    const auto d1 = hn::MulAdd(minus_two, high[r], hn::Add(x_norm, norm1));
    const auto second = hn::Lt(d1, d0);
    const auto distance = hn::IfThenElse(second, d1, d0);
    const auto index = hn::IfThenElse(hn::RebindMask(di, second), index1, index0);
    const auto old = hn::Load(d, best + r * kLanes);
    const auto better = hn::Lt(distance, old);  // strict: the lowest index stays on a tie
    hn::Store(hn::IfThenElse(better, distance, old), d, best + r * kLanes);
    hn::Store(hn::IfThenElse(hn::RebindMask(di, better), index, hn::Load(di, best_index + r * kLanes)), di,
              best_index + r * kLanes);
  }
}

void nearest_rows(int32_t* ids, float* distances, const float* x, int64_t rows, int64_t cols, const float* panels,
                  const float* norms, int64_t panel_count) {
  HWY_ALIGN float best[kBlock * kLanes];
  HWY_ALIGN int32_t best_index[kBlock * kLanes];
  HWY_ALIGN float x_norms[kBlock];
  auto padded = hwy::AllocateAligned<float>(static_cast<size_t>(kBlock * cols));
  if (!padded) fail(ErrorCode::Memory, "nearest_row: out of memory");
  for (int64_t begin = 0; begin < rows; begin += kBlock) {
    const int64_t count = std::min(kBlock, rows - begin), tiles = (count + kTile - 1) / kTile;
    const float* block = x + begin * cols;
    if (count < kBlock) {  // the last tile is filled up with zeros
      std::memset(padded.get(), 0, static_cast<size_t>(kBlock * cols) * sizeof(float));
      std::memcpy(padded.get(), block, static_cast<size_t>(count * cols) * sizeof(float));
      block = padded.get();
    }
    for (int64_t r = 0; r < tiles * kTile; ++r) x_norms[r] = square_sum(block + r * cols, cols);
    std::fill_n(best, tiles * kTile * kLanes, std::numeric_limits<float>::infinity());
    std::memset(best_index, 0, static_cast<size_t>(tiles * kTile * kLanes) * sizeof(int32_t));
    for (int64_t p = 0; p < panel_count; ++p)
      for (int64_t t = 0; t < tiles; ++t)
        nearest_tile(block + t * kTile * cols, x_norms + t * kTile, cols, panels + p * kPanel * cols, norms + p * kPanel,
                     static_cast<int32_t>(p * kPanel), best + t * kTile * kLanes, best_index + t * kTile * kLanes);
    for (int64_t r = 0; r < count; ++r) {
      const float* values = best + r * kLanes;
      const int32_t* indices = best_index + r * kLanes;
      int64_t winner = 0;
      for (int64_t lane = 1; lane < kLanes; ++lane)
        if (values[lane] < values[winner] || (values[lane] == values[winner] && indices[lane] < indices[winner])) winner = lane;
      ids[begin + r] = indices[winner];
      if (distances) distances[begin + r] = values[winner];
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {
HWY_EXPORT(nearest_panel);
HWY_EXPORT(nearest_block);
HWY_EXPORT(nearest_pack);
HWY_EXPORT(nearest_rows);
}  // namespace

void CpuBackend::nearest_row(const NearestRowArgs& a) {
  if (is_half(a.x.dtype)) return widened(*this, "nearest_row", a.x.dtype, a, &CpuBackend::nearest_row);
  int32_t* ids = a.ids.i32();
  float* distance = a.distance ? a.distance.f32() : nullptr;
  const float* x = a.x.f32();
  const float* codebook = a.codebook.f32();
  const int64_t panel = HWY_DYNAMIC_DISPATCH(nearest_panel)(), panels = (a.vocab + panel - 1) / panel;
  auto packed = hwy::AllocateAligned<float>(static_cast<size_t>(panels * panel * std::max<int64_t>(1, a.cols)));
  auto norms = hwy::AllocateAligned<float>(static_cast<size_t>(panels * panel));
  if (!packed || !norms)
    fail(ErrorCode::Memory, "nearest_row: no memory for a packed codebook of %lld rows", static_cast<long long>(a.vocab));
  parallel_for(panels, 16, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(nearest_pack)(packed.get(), norms.get(), codebook, begin, end, a.vocab, a.cols);
  });
  parallel_chunks(a.rows, HWY_DYNAMIC_DISPATCH(nearest_block)(), [&](int64_t, int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(nearest_rows)
    (ids + begin, distance ? distance + begin : nullptr, x + begin * a.cols, end - begin, a.cols, packed.get(), norms.get(),
     panels);
  });
}

}  // namespace star
#endif  // HWY_ONCE
