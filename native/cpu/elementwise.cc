// Linear combinations and broadcast arithmetic. Vector code is compiled once per instruction set and chosen at run time
// (Highway).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/elementwise.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/vector-inl.h"
#include "cpu/widen.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

struct Affine1 {
  V32 alpha, gamma;
  HWY_INLINE V32 operator()(V32 a) const { return hn::MulAdd(alpha, a, gamma); }
};
struct Affine2 {
  V32 alpha, beta, gamma;
  HWY_INLINE V32 operator()(V32 a, V32 b) const { return hn::MulAdd(beta, b, hn::MulAdd(alpha, a, gamma)); }
};

void affine_range(float* y, const float* a, const float* b, float alpha, float beta, float gamma, int64_t count) {
  if (b)
    map2(y, a, b, count, Affine2{set(alpha), set(beta), set(gamma)});
  else
    map1(y, a, count, Affine1{set(alpha), set(gamma)});
}

struct AddOp {
  HWY_INLINE V32 operator()(V32 a, V32 b) const { return hn::Add(a, b); }
};
struct SubOp {
  HWY_INLINE V32 operator()(V32 a, V32 b) const { return hn::Sub(a, b); }
};
struct MulOp {
  HWY_INLINE V32 operator()(V32 a, V32 b) const { return hn::Mul(a, b); }
};
struct DivOp {
  HWY_INLINE V32 operator()(V32 a, V32 b) const { return hn::Div(a, b); }
};

template <class Op>
struct WithScalar {
  Op op;
  V32 b;
  HWY_INLINE V32 operator()(V32 a) const { return op(a, b); }
};

// y[i] = a[i] op b[i], or a[i] op b[0] when `scalar`.
template <class Op>
HWY_INLINE void binary_of(float* y, const float* a, const float* b, bool scalar, int64_t count) {
  if (scalar)
    map1(y, a, count, WithScalar<Op>{Op(), set(*b)});
  else
    map2(y, a, b, count, Op());
}

void binary_range(BinaryOp op, float* y, const float* a, const float* b, bool scalar, int64_t count) {
  switch (op) {
    case BinaryOp::Add: return binary_of<AddOp>(y, a, b, scalar, count);
    case BinaryOp::Sub: return binary_of<SubOp>(y, a, b, scalar, count);
    case BinaryOp::Mul: return binary_of<MulOp>(y, a, b, scalar, count);
    case BinaryOp::Div: return binary_of<DivOp>(y, a, b, scalar, count);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {
HWY_EXPORT(affine_range);
HWY_EXPORT(binary_range);
constexpr int64_t kGrain = 16384;
}  // namespace

void CpuBackend::affine(const AffineArgs& args) {
  if (is_half(args.a.dtype)) return widened(*this, "affine", args.a.dtype, args, &CpuBackend::affine);
  float* y = args.y.f32();
  const float* a = args.a.f32();
  const float* b = args.b ? args.b.f32() : nullptr;
  parallel_for(args.count, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(affine_range)
    (y + begin, a + begin, b ? b + begin : nullptr, args.alpha, args.beta, args.gamma, end - begin);
  });
}

void CpuBackend::binary(const BinaryArgs& args) {
  if (is_half(args.a.dtype)) return widened(*this, "binary", args.a.dtype, args, &CpuBackend::binary);
  float* y = args.y.f32();
  const float* a = args.a.f32();
  const float* b = args.b.f32();
  int64_t outer = args.outer, mid = args.mid, inner = args.inner;
  const int64_t count = outer * mid * inner;
  if (count == 0) return;

  // Short rows would leave the vectors half empty: write b out until a period of it is long.
  std::vector<float> written;
  if (inner > 1 && inner < 32 && mid > 1 && mid * inner < 65536 && outer > 1) {
    written.reserve(static_cast<size_t>(mid * inner));
    for (int64_t m = 0; m < mid; ++m) written.insert(written.end(), static_cast<size_t>(inner), b[m]);
    mid *= inner;
    inner = 1;
    b = written.data();
  }
  if (inner == 1 && mid > 1 && mid < 256 && outer > 1) {
    const int64_t copies = std::min(outer, (511 + mid) / mid);
    std::vector<float> period;
    period.reserve(static_cast<size_t>(copies * mid));
    for (int64_t k = 0; k < copies; ++k) period.insert(period.end(), b, b + mid);
    written = std::move(period);
    b = written.data();
    mid *= copies;  // the last row of a may end early, which the loop below allows
  }

  if (inner == 1) {  // a flat array whose element i meets b[i % mid]; one scalar is mid = 1
    parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
      if (mid == 1) return HWY_DYNAMIC_DISPATCH(binary_range)(args.op, y + begin, a + begin, b, true, end - begin);
      for (int64_t i = begin; i < end;) {
        const int64_t at = i % mid, n = std::min(end - i, mid - at);
        HWY_DYNAMIC_DISPATCH(binary_range)(args.op, y + i, a + i, b + at, false, n);
        i += n;
      }
    });
  } else {  // rows of `inner`, each with one element of b
    parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end;) {
        const int64_t row = i / inner, n = std::min(end - i, (row + 1) * inner - i);
        HWY_DYNAMIC_DISPATCH(binary_range)(args.op, y + i, a + i, b + row % mid, true, n);
        i += n;
      }
    });
  }
}

}  // namespace star
#endif  // HWY_ONCE
