#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

Resample kind_of(const Call& call, size_t i) {
  const std::string name = call.string(i, "kind");
  if (name == "nearest2x") return Resample::Nearest2x;
  if (name == "area") return Resample::Area;
  if (name == "bicubic") return Resample::Bicubic;
  fail(ErrorCode::Argument, "%s: kind is '%s', expected nearest2x, area or bicubic", call.op, name.c_str());
}

void check_size(const Call& call, Resample kind, int64_t h, int64_t w, int64_t oh, int64_t ow) {
  if (h < 1 || w < 1 || oh < 1 || ow < 1)
    call.wrong_shape("cannot resample %lld×%lld to %lld×%lld: every side must be 1 or more", static_cast<long long>(h),
                     static_cast<long long>(w), static_cast<long long>(oh), static_cast<long long>(ow));
  if (kind == Resample::Nearest2x && (oh != 2 * h || ow != 2 * w))
    call.wrong_shape("nearest2x gives %lld×%lld, not %lld×%lld", static_cast<long long>(2 * h), static_cast<long long>(2 * w),
                     static_cast<long long>(oh), static_cast<long long>(ow));
}

Napi::Value resample(const Call& call) {  // (x (n, h, w, c), kind, oh, ow) → y (n, oh, ow, c)
  const Tensor& x = call.tensor(0, "x");
  call.expect_rank(x, "x", 4);
  const Resample kind = kind_of(call, 1);
  const int64_t oh = call.integer(2, "oh"), ow = call.integer(3, "ow");
  check_size(call, kind, x.shape[1], x.shape[2], oh, ow);
  Tensor y = Tensor::empty(x.backend(), {x.shape[0], oh, ow, x.shape[3]}, x.dtype);
  if (y.count() == 0) return call.wrap(y);  // no pictures, but sides of any length
  x.backend().resample({y.ref(), x.ref(), kind, x.shape[0], x.shape[1], x.shape[2], x.shape[3], oh, ow});
  return call.wrap(y);
}

Napi::Value resample_backward(const Call& call) {  // (dy (n, oh, ow, c), kind, h, w) → dx (n, h, w, c)
  const Tensor& dy = call.tensor(0, "dy");
  call.expect_rank(dy, "dy", 4);
  const Resample kind = kind_of(call, 1);
  const int64_t h = call.integer(2, "h"), w = call.integer(3, "w");
  check_size(call, kind, h, w, dy.shape[1], dy.shape[2]);
  Tensor dx = Tensor::empty(dy.backend(), {dy.shape[0], h, w, dy.shape[3]}, dy.dtype);
  if (dx.count() == 0) return call.wrap(dx);
  dy.backend().resample_backward({dx.ref(), dy.ref(), kind, dy.shape[0], h, w, dy.shape[3], dy.shape[1], dy.shape[2]});
  return call.wrap(dx);
}

}  // namespace

void define_resample(Napi::Object exports) {
  define_op(exports, "resample", resample);
  define_op(exports, "resampleBackward", resample_backward);
}

}  // namespace star
