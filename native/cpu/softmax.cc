// Softmax over rows.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/softmax.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <algorithm>

#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/vector-inl.h"
#include "cpu/widen.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

// Largest scale·x[i].
HWY_INLINE float row_max(const float* x, int64_t n, float scale) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const V32 lowest = set(-std::numeric_limits<float>::infinity()), factor = set(scale);
  V32 top = lowest;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) top = hn::Max(top, hn::Mul(factor, hn::LoadU(d, x + i)));
  if (i < n)
    top = hn::Max(top,
                  hn::IfThenElse(hn::FirstN(d, static_cast<size_t>(n - i)), hn::Mul(factor, load_first(x + i, n - i)), lowest));
  return hn::GetLane(hn::MaxOfLanes(d, top));
}

struct ShiftedExp {
  V32 scale, top;
  HWY_INLINE V32 operator()(V32 x) const { return exp_of(hn::Sub(hn::Mul(scale, x), top)); }
};
struct First {
  HWY_INLINE V32 operator()(V32 a, V32) const { return a; }
};
struct Product {
  HWY_INLINE V32 operator()(V32 a, V32 b) const { return hn::Mul(a, b); }
};
struct Scale {
  V32 factor;
  HWY_INLINE V32 operator()(V32 x) const { return hn::Mul(factor, x); }
};
struct Backward {
  V32 scale, dot;
  HWY_INLINE V32 operator()(V32 dy, V32 y) const { return hn::Mul(hn::Mul(scale, y), hn::Sub(dy, dot)); }
};

void softmax_rows(float* y, const float* x, int64_t rows, int64_t cols, float scale) {
  for (int64_t r = 0; r < rows; ++r, y += cols, x += cols) {
    map1(y, x, cols, ShiftedExp{set(scale), set(row_max(x, cols, scale))});
    map1(y, y, cols, Scale{set(static_cast<float>(1.0 / sum2(y, y, cols, First())))});
  }
}

void softmax_backward_rows(float* dx, const float* dy, const float* y, int64_t rows, int64_t cols, float scale) {
  for (int64_t r = 0; r < rows; ++r, dx += cols, dy += cols, y += cols)
    map2(dx, dy, y, cols, Backward{set(scale), set(static_cast<float>(sum2(dy, y, cols, Product())))});
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {
HWY_EXPORT(softmax_rows);
HWY_EXPORT(softmax_backward_rows);
int64_t grain(int64_t cols) { return std::max<int64_t>(1, 8192 / std::max<int64_t>(1, cols)); }
}  // namespace

void CpuBackend::softmax(const SoftmaxArgs& args) {
  if (is_half(args.x.dtype)) return widened(*this, "softmax", args.x.dtype, args, &CpuBackend::softmax);
  float* y = args.y.f32();
  const float* x = args.x.f32();
  parallel_for(args.rows, grain(args.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(softmax_rows)(y + begin * args.cols, x + begin * args.cols, end - begin, args.cols, args.scale);
  });
}

void CpuBackend::softmax_backward(const SoftmaxBackwardArgs& args) {
  if (is_half(args.y.dtype)) return widened(*this, "softmax_backward", args.y.dtype, args, &CpuBackend::softmax_backward);
  float* dx = args.dx.f32();
  const float* dy = args.dy.f32();
  const float* y = args.y.f32();
  parallel_for(args.rows, grain(args.cols), [&](int64_t begin, int64_t end) {
    const int64_t at = begin * args.cols;
    HWY_DYNAMIC_DISPATCH(softmax_backward_rows)(dx + at, dy + at, y + at, end - begin, args.cols, args.scale);
  });
}

}  // namespace star
#endif  // HWY_ONCE
