// Elementwise ops. Vector code is compiled once per instruction set and chosen at run time (Highway).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/elementwise.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void affine_range(float* y, const float* a, const float* b, float alpha, float beta, float gamma, int64_t count) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto va = hn::Set(d, alpha), vb = hn::Set(d, beta), vc = hn::Set(d, gamma);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    auto value = hn::MulAdd(va, hn::LoadU(d, a + i), vc);
    if (b) value = hn::MulAdd(vb, hn::LoadU(d, b + i), value);
    hn::StoreU(value, d, y + i);
  }
  for (; i < count; ++i) y[i] = alpha * a[i] + gamma + (b ? beta * b[i] : 0.0f);
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {
HWY_EXPORT(affine_range);
constexpr int64_t kGrain = 16384;
}  // namespace

void CpuBackend::affine(const AffineArgs& args) {
  float* y = args.y.f32();
  const float* a = args.a.f32();
  const float* b = args.b ? args.b.f32() : nullptr;
  parallel_for(args.count, kGrain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(affine_range)(y + begin, a + begin, b ? b + begin : nullptr, args.alpha, args.beta, args.gamma, end - begin);
  });
}

void CpuBackend::fill(const FillArgs& args) {
  switch (args.y.dtype) {
    case DType::F32: std::fill_n(args.y.f32(), args.count, static_cast<float>(args.value)); break;
    case DType::I32: std::fill_n(args.y.i32(), args.count, static_cast<int32_t>(args.value)); break;
    case DType::U8: std::fill_n(args.y.u8(), args.count, static_cast<uint8_t>(args.value)); break;
    default: fail(ErrorCode::DType, "fill: %s is not supported: fill f32 and cast", dtype_name(args.y.dtype));
  }
}

void CpuBackend::binary(const BinaryArgs&) { fail(ErrorCode::Internal, "cpu: binary is not built"); }
void CpuBackend::unary(const UnaryArgs&) { fail(ErrorCode::Internal, "cpu: unary is not built"); }
void CpuBackend::unary_backward(const UnaryBackwardArgs&) { fail(ErrorCode::Internal, "cpu: unary_backward is not built"); }
void CpuBackend::cast(const CastArgs&) { fail(ErrorCode::Internal, "cpu: cast is not built"); }

}  // namespace star
#endif  // HWY_ONCE
