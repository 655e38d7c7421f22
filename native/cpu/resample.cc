// Resampling of NHWC images. Every kind is a separable linear map: along each axis an output is a weighted sum of a few
// inputs ("taps"). A backward is the same gather with the taps transposed, so it needs no atomics and has one order.
#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/widen.h"

namespace star {

namespace {

struct Tap {
  int64_t from;
  float weight;
};

// taps[begin[i]] … taps[begin[i + 1] − 1] make up output i.
struct Taps {
  std::vector<int64_t> begin{0};
  std::vector<Tap> taps;
  void close() { begin.push_back(static_cast<int64_t>(taps.size())); }
};

// Cubic convolution (Keys 1981) with a = −0.75 at distance x.
double cubic(double x) {
  constexpr double a = -0.75;
  x = std::abs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

Taps axis_taps(Resample kind, int64_t in, int64_t out) {
  Taps t;
  for (int64_t i = 0; i < out; ++i) {
    switch (kind) {
      case Resample::Nearest2x: t.taps.push_back({i / 2, 1.0f}); break;
      case Resample::Area: {
        const int64_t low = i * in / out, high = ((i + 1) * in + out - 1) / out;
        for (int64_t j = low; j < high; ++j) t.taps.push_back({j, 1.0f / static_cast<float>(high - low)});
        break;
      }
      case Resample::Bicubic: {
        const double center = (static_cast<double>(i) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5;
        const double low = std::floor(center);
        for (int64_t k = -1; k <= 2; ++k) {
          const int64_t j = std::min(std::max<int64_t>(static_cast<int64_t>(low) + k, 0), in - 1);
          t.taps.push_back({j, static_cast<float>(cubic(center - (low + static_cast<double>(k))))});
        }
        break;
      }
    }
    t.close();
  }
  return t;
}

Taps transpose(const Taps& t, int64_t in) {
  std::vector<std::vector<Tap>> by_input(static_cast<size_t>(in));
  for (size_t i = 0; i + 1 < t.begin.size(); ++i)
    for (int64_t j = t.begin[i]; j < t.begin[i + 1]; ++j)
      by_input[t.taps[j].from].push_back({static_cast<int64_t>(i), t.taps[j].weight});
  Taps result;
  for (const auto& list : by_input) {
    result.taps.insert(result.taps.end(), list.begin(), list.end());
    result.close();
  }
  return result;
}

// to (n, rows.outputs, columns.outputs, c) from `from` (n, h, w, c).
void gather(float* to, const float* from, const Taps& rows, const Taps& columns, int64_t n, int64_t h, int64_t w, int64_t c) {
  const int64_t oh = static_cast<int64_t>(rows.begin.size()) - 1, ow = static_cast<int64_t>(columns.begin.size()) - 1;
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, ow * c));
  parallel_for(n * oh, grain, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t image = line / oh, y = line % oh;
      for (int64_t x = 0; x < ow; ++x) {
        float* __restrict out = to + (line * ow + x) * c;
        bool first = true;
        for (int64_t ty = rows.begin[y]; ty < rows.begin[y + 1]; ++ty) {
          for (int64_t tx = columns.begin[x]; tx < columns.begin[x + 1]; ++tx) {
            const float weight = rows.taps[ty].weight * columns.taps[tx].weight;
            const float* __restrict in = from + ((image * h + rows.taps[ty].from) * w + columns.taps[tx].from) * c;
            if (first && weight == 1.0f) {
              std::memcpy(out, in, static_cast<size_t>(c) * sizeof(float));
            } else if (first) {
              for (int64_t i = 0; i < c; ++i) out[i] = weight * in[i];
            } else {
              for (int64_t i = 0; i < c; ++i) out[i] += weight * in[i];
            }
            first = false;
          }
        }
        if (first) std::memset(out, 0, static_cast<size_t>(c) * sizeof(float));
      }
    }
  });
}

}  // namespace

void CpuBackend::resample(const ResampleArgs& a) {
  if (is_half(a.x.dtype)) return widened(*this, "resample", a.x.dtype, a, &CpuBackend::resample);
  gather(a.y.f32(), a.x.f32(), axis_taps(a.kind, a.h, a.oh), axis_taps(a.kind, a.w, a.ow), a.n, a.h, a.w, a.c);
}

void CpuBackend::resample_backward(const ResampleBackwardArgs& a) {
  if (is_half(a.dy.dtype)) return widened(*this, "resample_backward", a.dy.dtype, a, &CpuBackend::resample_backward);
  const Taps rows = transpose(axis_taps(a.kind, a.h, a.oh), a.h), columns = transpose(axis_taps(a.kind, a.w, a.ow), a.w);
  gather(a.dx.f32(), a.dy.f32(), rows, columns, a.n, a.oh, a.ow, a.c);
}

}  // namespace star
