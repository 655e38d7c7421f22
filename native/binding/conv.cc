#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

// Beyond any picture, and little enough for the 32-bit sizes inside the libraries.
constexpr int64_t kLongestSide = 1 << 24;

int64_t groups_of(const Call& call, size_t place) {
  const int64_t groups = call.integer(place, "groups");
  if (groups < 1) fail(ErrorCode::Argument, "%s: groups is %lld, expected at least 1", call.op, static_cast<long long>(groups));
  return groups;
}

// Geometry from the image size and the weights' size; `first` is the position of stride, padding and groups among the arguments.
ConvShape geometry(const Call& call, int64_t n, int64_t h, int64_t w, const Shape& weight, size_t first) {
  ConvShape s{};
  s.n = n;
  s.h = h;
  s.w = w;
  s.groups = groups_of(call, first + 2);
  s.c_out = weight[0];
  s.c_in = weight[1] * s.groups;
  s.kh = weight[2];
  s.kw = weight[3];
  s.stride = call.integer(first, "stride");
  const auto padding = call.integers(first + 1, "padding");
  if (s.stride < 1 || s.stride > kLongestSide)
    fail(ErrorCode::Argument, "%s: stride is %lld, expected 1 to %lld", call.op, static_cast<long long>(s.stride),
         static_cast<long long>(kLongestSide));
  if (padding.size() != 4)
    fail(ErrorCode::Argument, "%s: padding has %zu numbers, expected 4: top, left, bottom, right", call.op, padding.size());
  if (s.c_out % s.groups != 0)
    call.wrong_shape("weights %s have %lld outputs, expected a multiple of the %lld groups", weight.str().c_str(),
                     static_cast<long long>(s.c_out), static_cast<long long>(s.groups));
  for (int64_t p : padding)
    if (p < 0 || p > kLongestSide)
      fail(ErrorCode::Argument, "%s: padding is %lld, expected 0 to %lld", call.op, static_cast<long long>(p),
           static_cast<long long>(kLongestSide));
  s.pad_top = padding[0];
  s.pad_left = padding[1];
  s.pad_bottom = padding[2];
  s.pad_right = padding[3];
  const int64_t room_h = h + s.pad_top + s.pad_bottom - s.kh, room_w = w + s.pad_left + s.pad_right - s.kw;
  if (s.c_in < 1 || s.c_out < 1 || s.kh < 1 || s.kw < 1 || h < 1 || w < 1 || h > kLongestSide || w > kLongestSide || room_h < 0 ||
      room_w < 0)
    call.wrong_shape("weights %s do not fit an image of %lld x %lld with padding %lld, %lld, %lld, %lld", weight.str().c_str(),
                     static_cast<long long>(h), static_cast<long long>(w), static_cast<long long>(s.pad_top),
                     static_cast<long long>(s.pad_left), static_cast<long long>(s.pad_bottom),
                     static_cast<long long>(s.pad_right));
  s.oh = room_h / s.stride + 1;
  s.ow = room_w / s.stride + 1;
  return s;
}

Napi::Value conv2d(
    const Call& call) {  // (x (n, h, w, i), weight (o, i/groups, kh, kw), bias | null, stride, padding, groups) → y
  const Tensor& x = call.tensor(0, "x");
  const Tensor& weight = call.tensor(1, "weight");
  const Tensor* bias = call.optional_tensor(2, "bias");
  call.expect_rank(x, "x", 4);
  call.expect_rank(weight, "weight", 4);
  const int64_t groups = groups_of(call, 5), channels = x.shape[3];
  if (channels % groups != 0 || channels / groups != weight.shape[1])
    call.wrong_shape("x has shape %s, expected (n, h, w, %lld) for weights %s in %lld groups", x.shape.str().c_str(),
                     static_cast<long long>(weight.shape[1]) * groups, weight.shape.str().c_str(),
                     static_cast<long long>(groups));
  if (bias) call.expect_shape(*bias, "bias", {weight.shape[0]});
  const ConvShape s = geometry(call, x.shape[0], x.shape[1], x.shape[2], weight.shape, 3);
  Tensor y = Tensor::empty(x.backend(), {s.n, s.oh, s.ow, s.c_out}, x.dtype);
  x.backend().conv2d({y.ref(), x.ref(), weight.ref(), ref_or_none(bias), s});
  return call.wrap(y);
}

Napi::Value conv2d_backward_data(const Call& call) {  // (dy, weight, h, w, stride, padding, groups) → dx (n, h, w, i)
  const Tensor& dy = call.tensor(0, "dy");
  const Tensor& weight = call.tensor(1, "weight");
  call.expect_rank(dy, "dy", 4);
  call.expect_rank(weight, "weight", 4);
  const ConvShape s = geometry(call, dy.shape[0], call.integer(2, "h"), call.integer(3, "w"), weight.shape, 4);
  call.expect_shape(dy, "dy", {s.n, s.oh, s.ow, s.c_out});
  Tensor dx = Tensor::empty(dy.backend(), {s.n, s.h, s.w, s.c_in}, dy.dtype);
  dy.backend().conv2d_backward_data({dx.ref(), dy.ref(), weight.ref(), s});
  return call.wrap(dx);
}

Napi::Value conv2d_backward_weight(
    const Call& call) {  // (dy, x, kh, kw, bias, stride, padding, groups) → [dweight, dbias | null]
  const Tensor& dy = call.tensor(0, "dy");
  const Tensor& x = call.tensor(1, "x");
  call.expect_rank(dy, "dy", 4);
  call.expect_rank(x, "x", 4);
  const int64_t groups = groups_of(call, 7);
  if (x.shape[3] % groups != 0)
    call.wrong_shape("x has shape %s, expected channels for %lld groups", x.shape.str().c_str(), static_cast<long long>(groups));
  const Shape weight{dy.shape[3], x.shape[3] / groups, call.integer(2, "kh"), call.integer(3, "kw")};
  const ConvShape s = geometry(call, x.shape[0], x.shape[1], x.shape[2], weight, 5);
  call.expect_shape(dy, "dy", {s.n, s.oh, s.ow, s.c_out});
  Tensor dweight = Tensor::empty(dy.backend(), weight, dy.dtype), dbias;
  if (call.boolean(4, "bias")) dbias = Tensor::empty(dy.backend(), {s.c_out}, dy.dtype);
  dy.backend().conv2d_backward_weight({dweight.ref(), dbias.storage ? dbias.ref() : Ref{}, dy.ref(), x.ref(), s});
  return call.wrap({dweight, dbias});
}

}  // namespace

void define_conv(Napi::Object exports) {
  define_op(exports, "conv2d", conv2d);
  define_op(exports, "conv2dBackwardData", conv2d_backward_data);
  define_op(exports, "conv2dBackwardWeight", conv2d_backward_weight);
}

}  // namespace star
