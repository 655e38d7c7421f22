// Rows of a sample by position: how far they are from a point, which ones, taken out, and put back.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/widen.h"

namespace star {

namespace {

void check_positions(const char* op, const int32_t* positions, int64_t count, int64_t length) {
  for (int64_t i = 0; i < count; ++i)
    if (positions[i] < 0 || positions[i] >= length)
      fail(ErrorCode::Argument, "%s: position %d at index %lld lies outside the %lld rows of a sample", op, positions[i],
           static_cast<long long>(i), static_cast<long long>(length));
}

// copy(whole, part) for each row of `length` of a sample and its row of the `count` chosen ones, as offsets in bytes.
template <class Args, class Copy>
void each_row(const char* op, const Args& a, DType dtype, Copy copy) {
  const int32_t* positions = a.positions.i32();
  check_positions(op, positions, a.batch * a.count, a.length);
  const size_t row = static_cast<size_t>(a.cols) * dtype_size(dtype);
  parallel_for(a.batch * a.count, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, a.cols)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      copy(static_cast<size_t>(i / a.count * a.length + positions[i]) * row, static_cast<size_t>(i) * row, row);
  });
}

}  // namespace

void CpuBackend::row_distances(const RowDistancesArgs& a) {
  if (is_half(a.x.dtype)) return widened(*this, "row_distances", a.x.dtype, a, &CpuBackend::row_distances);
  const float* all_rows = a.x.f32();
  const float* centers = a.center.f32();
  float* y = a.y.f32();
  constexpr int64_t kLanes = 16;  // sums apart from each other, which the compiler makes vectors of
  parallel_for(a.batch * a.length, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, a.cols)), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float *x = all_rows + r * a.cols, *center = centers + r / a.length * a.cols;
      float sums[kLanes] = {};
      int64_t c = 0;
      for (; c + kLanes <= a.cols; c += kLanes)
        for (int64_t k = 0; k < kLanes; ++k) sums[k] += (x[c + k] - center[c + k]) * (x[c + k] - center[c + k]);
      for (; c < a.cols; ++c) sums[0] += (x[c] - center[c]) * (x[c] - center[c]);
      y[r] = std::accumulate(sums, sums + kLanes, 0.0f);
    }
  });
}

void CpuBackend::top_positions(const TopPositionsArgs& a) {
  const float* all_scores = a.score.f32();
  int32_t* all = a.positions.i32();
  parallel_for(a.rows, std::max<int64_t>(1, 4096 / std::max<int64_t>(1, a.length)), [&](int64_t begin, int64_t end) {
    std::vector<int32_t> order(static_cast<size_t>(a.length));
    for (int64_t r = begin; r < end; ++r) {
      const float* score = all_scores + r * a.length;
      const auto value = [&](int32_t i) { return std::isnan(score[i]) ? -std::numeric_limits<float>::infinity() : score[i]; };
      std::iota(order.begin(), order.end(), 0);
      if (a.keep < a.length)
        std::nth_element(order.begin(), order.begin() + a.keep, order.end(),
                         [&](int32_t x, int32_t y) { return value(x) != value(y) ? value(x) > value(y) : x < y; });
      std::sort(order.begin(), order.begin() + a.keep);
      std::copy_n(order.begin(), a.keep, all + r * a.keep);
    }
  });
}

void CpuBackend::gather_rows(const GatherRowsArgs& a) {
  const auto x = static_cast<const char*>(a.x.data);
  const auto y = static_cast<char*>(a.y.data);
  each_row("gather_rows", a, a.x.dtype,
           [&](size_t whole, size_t part, size_t bytes) { std::memcpy(y + part, x + whole, bytes); });
}

void CpuBackend::scatter_rows(const ScatterRowsArgs& a) {
  const auto x = static_cast<const char*>(a.x.data);
  const auto y = static_cast<char*>(a.y.data);
  each_row("scatter_rows", a, a.x.dtype,
           [&](size_t whole, size_t part, size_t bytes) { std::memcpy(y + whole, x + part, bytes); });
}

}  // namespace star
