#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

int64_t rows_of(const Tensor& x) { return x.shape.count(0, x.shape.rank() - 1); }

void expect_dimension(const Call& call, const Tensor& x) {
  if (x.shape.rank() < 1) call.wrong_shape("x has shape (), expected one dimension or more");
}

// Rows of scale and shift: (…, cols) with any number of rows that the rows of x repeat.
int64_t modulation_rows(const Call& call, const Tensor& x, const Tensor* scale, const Tensor* shift) {
  int64_t mod_rows = 1;
  const std::pair<const Tensor*, const char*> given[] = {{scale, "scale"}, {shift, "shift"}};
  for (const auto& [t, name] : given) {
    if (!t) continue;
    const int64_t rows = t->shape.rank() > 0 && t->shape[-1] == x.shape[-1] ? rows_of(*t) : 0;
    if (rows == 0 || rows_of(x) % rows != 0 || (t == shift && scale && rows != mod_rows))
      call.wrong_shape(
          "%s has shape %s, expected (%lld) or rows of it that the rows of x with shape %s repeat, scale and shift alike", name,
          t->shape.str().c_str(), static_cast<long long>(x.shape[-1]), x.shape.str().c_str());
    mod_rows = rows;
  }
  return mod_rows;
}

Napi::Value layer_norm(const Call& call) {  // (x (…, cols), scale, shift, affine, eps) → [y, mean (rows), rstd (rows)]
  const Tensor& x = call.tensor(0, "x");
  const Tensor* scale = call.optional_tensor(1, "scale");
  const Tensor* shift = call.optional_tensor(2, "shift");
  expect_dimension(call, x);
  const int64_t mod_rows = modulation_rows(call, x, scale, shift), rows = rows_of(x);
  Tensor y = Tensor::empty(x.backend(), x.shape, x.dtype);
  Tensor mean = Tensor::empty(x.backend(), {rows}, DType::F32), rstd = Tensor::empty(x.backend(), {rows}, DType::F32);
  x.backend().layer_norm({y.ref(), mean.ref(), rstd.ref(), x.ref(), ref_or_none(scale), ref_or_none(shift), rows, x.shape[-1],
                          mod_rows, call.boolean(3, "affine"), static_cast<float>(call.number(4, "eps"))});
  return call.wrap({y, mean, rstd});
}

// (dy, x, mean, rstd, scale, shiftShape, affine, needX, needScale, needShift) → [dx, dscale, dshift], null where not needed
Napi::Value layer_norm_backward(const Call& call) {
  const Tensor& dy = call.tensor(0, "dy");
  const Tensor& x = call.tensor(1, "x");
  const Tensor& mean = call.tensor(2, "mean");
  const Tensor& rstd = call.tensor(3, "rstd");
  const Tensor* scale = call.optional_tensor(4, "scale");
  const Shape shift_shape = call.shape(5, "shiftShape");
  expect_dimension(call, x);
  call.expect_shape(dy, "dy", x.shape);
  const int64_t rows = rows_of(x), cols = x.shape[-1];
  call.expect_shape(mean, "mean", {rows});
  call.expect_shape(rstd, "rstd", {rows});
  Tensor dx, dscale, dshift;
  if (call.boolean(7, "needX")) dx = Tensor::empty(x.backend(), x.shape, x.dtype);
  if (call.boolean(8, "needScale") && scale) dscale = Tensor::empty(x.backend(), scale->shape, x.dtype);
  if (call.boolean(9, "needShift")) dshift = Tensor::empty(x.backend(), shift_shape, x.dtype);
  const int64_t mod_rows = modulation_rows(call, x, scale, dshift.storage ? &dshift : nullptr);
  const auto ref = [](const Tensor& t) { return t.storage ? t.ref() : Ref{}; };
  x.backend().layer_norm_backward({ref(dx), ref(dscale), ref(dshift), dy.ref(), x.ref(), mean.ref(), rstd.ref(),
                                   ref_or_none(scale), rows, cols, mod_rows, call.boolean(6, "affine")});
  return call.wrap({dx, dscale, dshift});
}

struct ImageSize {
  int64_t n, hw, c, groups;
};

ImageSize image_size(const Call& call, const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t groups) {
  if (x.shape.rank() < 2) call.wrong_shape("x has shape %s, expected (n, …, c)", x.shape.str().c_str());
  const ImageSize size{x.shape[0], x.shape.count(1, x.shape.rank() - 1), x.shape[-1], groups};
  if (groups < 1 || size.c % groups != 0)
    call.wrong_shape("%lld channels do not divide into %lld groups", static_cast<long long>(size.c),
                     static_cast<long long>(groups));
  call.expect_shape(weight, "weight", {size.c});
  call.expect_shape(bias, "bias", {size.c});
  return size;
}

Napi::Value group_norm(
    const Call& call) {  // (x (n, …, c), weight (c), bias (c), groups, eps, silu) → [y, mean, rstd (n, groups)]
  const Tensor& x = call.tensor(0, "x");
  const Tensor& weight = call.tensor(1, "weight");
  const Tensor& bias = call.tensor(2, "bias");
  const ImageSize size = image_size(call, x, weight, bias, call.integer(3, "groups"));
  Tensor y = Tensor::empty(x.backend(), x.shape, x.dtype);
  Tensor mean = Tensor::empty(x.backend(), {size.n, size.groups}, DType::F32);
  Tensor rstd = Tensor::empty(x.backend(), {size.n, size.groups}, DType::F32);
  x.backend().group_norm({y.ref(), mean.ref(), rstd.ref(), x.ref(), weight.ref(), bias.ref(), size.n, size.hw, size.c,
                          size.groups, static_cast<float>(call.number(4, "eps")), call.boolean(5, "silu")});
  return call.wrap({y, mean, rstd});
}

// (dy, x, mean, rstd, weight, bias, groups, silu, needX, needWeight, needBias) → [dx, dweight, dbias], null where not needed
Napi::Value group_norm_backward(const Call& call) {
  const Tensor& dy = call.tensor(0, "dy");
  const Tensor& x = call.tensor(1, "x");
  const Tensor& mean = call.tensor(2, "mean");
  const Tensor& rstd = call.tensor(3, "rstd");
  const Tensor& weight = call.tensor(4, "weight");
  const Tensor& bias = call.tensor(5, "bias");
  const ImageSize size = image_size(call, x, weight, bias, call.integer(6, "groups"));
  call.expect_shape(dy, "dy", x.shape);
  call.expect_shape(mean, "mean", {size.n, size.groups});
  call.expect_shape(rstd, "rstd", {size.n, size.groups});
  Tensor dx, dweight, dbias;
  if (call.boolean(8, "needX")) dx = Tensor::empty(x.backend(), x.shape, x.dtype);
  if (call.boolean(9, "needWeight")) dweight = Tensor::empty(x.backend(), {size.c}, x.dtype);
  if (call.boolean(10, "needBias")) dbias = Tensor::empty(x.backend(), {size.c}, x.dtype);
  const auto ref = [](const Tensor& t) { return t.storage ? t.ref() : Ref{}; };
  x.backend().group_norm_backward({ref(dx), ref(dweight), ref(dbias), dy.ref(), x.ref(), mean.ref(), rstd.ref(), weight.ref(),
                                   bias.ref(), size.n, size.hw, size.c, size.groups, call.boolean(7, "silu")});
  return call.wrap({dx, dweight, dbias});
}

Napi::Value softmax(const Call& call) {  // (x (…, cols), scale) → y
  const Tensor& x = call.tensor(0, "x");
  expect_dimension(call, x);
  Tensor y = Tensor::empty(x.backend(), x.shape, x.dtype);
  x.backend().softmax({y.ref(), x.ref(), rows_of(x), x.shape[-1], static_cast<float>(call.number(1, "scale"))});
  return call.wrap(y);
}

Napi::Value softmax_backward(const Call& call) {  // (dy, y, scale) → dx
  const Tensor& dy = call.tensor(0, "dy");
  const Tensor& y = call.tensor(1, "y");
  if (y.shape.rank() < 1) call.wrong_shape("y has shape (), expected one dimension or more");
  call.expect_shape(dy, "dy", y.shape);
  Tensor dx = Tensor::empty(y.backend(), y.shape, y.dtype);
  y.backend().softmax_backward(
      {dx.ref(), dy.ref(), y.ref(), rows_of(y), y.shape[-1], static_cast<float>(call.number(2, "scale"))});
  return call.wrap(dx);
}

}  // namespace

void define_norm(Napi::Object exports) {
  define_op(exports, "layerNorm", layer_norm);
  define_op(exports, "layerNormBackward", layer_norm_backward);
  define_op(exports, "groupNorm", group_norm);
  define_op(exports, "groupNormBackward", group_norm_backward);
  define_op(exports, "softmax", softmax);
  define_op(exports, "softmaxBackward", softmax_backward);
}

}  // namespace star
