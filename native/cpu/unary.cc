// Elementwise functions of one argument and their derivatives.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/unary.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/vector-inl.h"
#include "cpu/widen.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

// value(x) is the function, slope(x) its derivative.
struct Silu {
  HWY_INLINE V32 value(V32 x) const { return silu_of(x); }
  HWY_INLINE V32 slope(V32 x) const { return silu_slope(x); }
};
struct Gelu {
  HWY_INLINE V32 value(V32 x) const { return gelu_of(x); }
  HWY_INLINE V32 slope(V32 x) const { return gelu_slope(x); }
};
struct GeluErf {
  HWY_INLINE V32 value(V32 x) const { return gelu_erf_of(x); }
  HWY_INLINE V32 slope(V32 x) const { return gelu_erf_slope(x); }
};
struct LeakyRelu {  // relu is slope 0
  V32 negative;
  HWY_INLINE V32 value(V32 x) const { return hn::IfThenElse(hn::Le(x, set(0.0f)), hn::Mul(x, negative), x); }
  HWY_INLINE V32 slope(V32 x) const { return hn::IfThenElse(hn::Le(x, set(0.0f)), negative, set(1.0f)); }
};
struct Tanh {
  HWY_INLINE V32 value(V32 x) const { return tanh_of(x); }
  HWY_INLINE V32 slope(V32 x) const {
    const V32 y = tanh_of(x);
    return hn::NegMulAdd(y, y, set(1.0f));
  }
};
struct Sigmoid {
  HWY_INLINE V32 value(V32 x) const { return sigmoid_of(x); }
  HWY_INLINE V32 slope(V32 x) const {
    const V32 s = sigmoid_of(x);
    return hn::Mul(s, hn::Sub(set(1.0f), s));
  }
};
struct Exp {
  HWY_INLINE V32 value(V32 x) const { return exp_of(x); }
  HWY_INLINE V32 slope(V32 x) const { return exp_of(x); }
};
struct Log {
  HWY_INLINE V32 value(V32 x) const { return log_of(x); }
  HWY_INLINE V32 slope(V32 x) const { return hn::Div(set(1.0f), x); }
};
struct Abs {
  HWY_INLINE V32 value(V32 x) const { return hn::Abs(x); }
  HWY_INLINE V32 slope(V32 x) const { return hn::IfThenElseZero(hn::Ne(x, set(0.0f)), hn::CopySign(set(1.0f), x)); }
};
struct Square {
  HWY_INLINE V32 value(V32 x) const { return hn::Mul(x, x); }
  HWY_INLINE V32 slope(V32 x) const { return hn::Add(x, x); }
};
struct Sqrt {
  HWY_INLINE V32 value(V32 x) const { return hn::Sqrt(x); }
  HWY_INLINE V32 slope(V32 x) const { return hn::Div(set(0.5f), hn::Sqrt(x)); }
};
struct Reciprocal {
  HWY_INLINE V32 value(V32 x) const { return hn::Div(set(1.0f), x); }
  HWY_INLINE V32 slope(V32 x) const { return hn::Div(set(-1.0f), hn::Mul(x, x)); }
};
struct Clamp {
  V32 low, high;
  HWY_INLINE V32 value(V32 x) const { return hn::IfThenElse(hn::Lt(x, low), low, hn::IfThenElse(hn::Gt(x, high), high, x)); }
  HWY_INLINE V32 slope(V32 x) const { return hn::IfThenElseZero(hn::And(hn::Ge(x, low), hn::Le(x, high)), set(1.0f)); }
};

template <class F>
struct Value {
  F f;
  HWY_INLINE V32 operator()(V32 x) const { return f.value(x); }
};
template <class F>
struct Slope {
  F f;
  HWY_INLINE V32 operator()(V32 dy, V32 x) const { return hn::Mul(dy, f.slope(x)); }
};

// y = f(x), or y = dy·f'(x) when dy is given.
template <class F>
HWY_INLINE void apply(float* y, const float* dy, const float* x, int64_t count, const F& f) {
  if (dy)
    map2(y, dy, x, count, Slope<F>{f});
  else
    map1(y, x, count, Value<F>{f});
}

void unary_range(UnaryOp op, float p0, float p1, float* y, const float* dy, const float* x, int64_t count) {
  switch (op) {
    case UnaryOp::Silu: return apply(y, dy, x, count, Silu());
    case UnaryOp::Gelu: return apply(y, dy, x, count, Gelu());
    case UnaryOp::GeluErf: return apply(y, dy, x, count, GeluErf());
    case UnaryOp::Relu: return apply(y, dy, x, count, LeakyRelu{set(0.0f)});
    case UnaryOp::LeakyRelu: return apply(y, dy, x, count, LeakyRelu{set(p0)});
    case UnaryOp::Tanh: return apply(y, dy, x, count, Tanh());
    case UnaryOp::Sigmoid: return apply(y, dy, x, count, Sigmoid());
    case UnaryOp::Exp: return apply(y, dy, x, count, Exp());
    case UnaryOp::Log: return apply(y, dy, x, count, Log());
    case UnaryOp::Abs: return apply(y, dy, x, count, Abs());
    case UnaryOp::Square: return apply(y, dy, x, count, Square());
    case UnaryOp::Sqrt: return apply(y, dy, x, count, Sqrt());
    case UnaryOp::Reciprocal: return apply(y, dy, x, count, Reciprocal());
    case UnaryOp::Clamp: return apply(y, dy, x, count, Clamp{set(p0), set(p1)});
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {
HWY_EXPORT(unary_range);
constexpr int64_t kGrain = 8192;
}  // namespace

void CpuBackend::unary(const UnaryArgs& args) {
  if (is_half(args.x.dtype)) return widened(*this, "unary", args.x.dtype, args, &CpuBackend::unary);
  float* y = args.y.f32();
  const float* x = args.x.f32();
  parallel_for(args.count, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(unary_range)(args.op, args.p0, args.p1, y + begin, nullptr, x + begin, end - begin);
  });
}

void CpuBackend::unary_backward(const UnaryBackwardArgs& args) {
  if (is_half(args.x.dtype)) return widened(*this, "unary_backward", args.x.dtype, args, &CpuBackend::unary_backward);
  float* dx = args.dx.f32();
  const float* dy = args.dy.f32();
  const float* x = args.x.f32();
  parallel_for(args.count, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(unary_range)(args.op, args.p0, args.p1, dx + begin, dy + begin, x + begin, end - begin);
  });
}

}  // namespace star
#endif  // HWY_ONCE
