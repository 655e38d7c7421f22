#include <utility>

#include "binding/call.h"
#include "binding/families.h"
#include "core/registry.h"

namespace star {

namespace {

void run_affine(const Call& call, const Tensor& y, size_t first) {  // arguments from `first`: a, b, alpha, beta, gamma
  const Tensor& a = call.tensor(first, "a");
  const Tensor* b = call.optional_tensor(first + 1, "b");
  if (a.count() != y.count()) call.wrong_shape("a has shape %s, expected %s", a.shape.str().c_str(), y.shape.str().c_str());
  if (b && b->count() != y.count())
    call.wrong_shape("b has shape %s, expected %s", b->shape.str().c_str(), y.shape.str().c_str());
  y.backend().affine({y.ref(), a.ref(), ref_or_none(b), static_cast<float>(call.number(first + 2, "alpha")),
                      static_cast<float>(call.number(first + 3, "beta")), static_cast<float>(call.number(first + 4, "gamma")),
                      y.count()});
}

Napi::Value affine(const Call& call) {
  const Tensor& a = call.tensor(0, "a");
  Tensor y = Tensor::empty(a.backend(), a.shape, a.dtype);
  run_affine(call, y, 0);
  return call.wrap(y);
}

Napi::Value affine_into(const Call& call) {
  run_affine(call, call.tensor(0, "y"), 1);
  return call.info.Env().Undefined();
}

Napi::Value full(const Call& call) {
  Tensor y = Tensor::empty(backend(call.string(2, "device")), call.shape(0, "shape"), dtype_from_name(call.string(1, "dtype")));
  y.backend().fill({y.ref(), call.number(3, "value"), y.count()});
  return call.wrap(y);
}

BinaryOp binary_op(const Call& call, size_t i) {
  const std::string name = call.string(i, "op");
  if (name == "add") return BinaryOp::Add;
  if (name == "sub") return BinaryOp::Sub;
  if (name == "mul") return BinaryOp::Mul;
  if (name == "div") return BinaryOp::Div;
  fail(ErrorCode::Argument, "%s: op is '%s', expected add, sub, mul or div", call.op, name.c_str());
}

UnaryOp unary_op(const Call& call, size_t i) {
  static const std::pair<const char*, UnaryOp> names[] = {{"silu", UnaryOp::Silu},
                                                          {"gelu", UnaryOp::Gelu},
                                                          {"geluErf", UnaryOp::GeluErf},
                                                          {"relu", UnaryOp::Relu},
                                                          {"leakyRelu", UnaryOp::LeakyRelu},
                                                          {"tanh", UnaryOp::Tanh},
                                                          {"sigmoid", UnaryOp::Sigmoid},
                                                          {"exp", UnaryOp::Exp},
                                                          {"log", UnaryOp::Log},
                                                          {"abs", UnaryOp::Abs},
                                                          {"square", UnaryOp::Square},
                                                          {"sqrt", UnaryOp::Sqrt},
                                                          {"reciprocal", UnaryOp::Reciprocal},
                                                          {"clamp", UnaryOp::Clamp}};
  const std::string given = call.string(i, "op");
  for (const auto& [name, op] : names)
    if (given == name) return op;
  fail(ErrorCode::Argument, "%s: there is no function '%s'", call.op, given.c_str());
}

Napi::Value binary(const Call& call) {  // (a (outer, mid, inner), b (mid), op, outer, mid, inner) → y with the shape of a
  const Tensor& a = call.tensor(0, "a");
  const Tensor& b = call.tensor(1, "b");
  const BinaryOp op = binary_op(call, 2);
  const int64_t outer = call.integer(3, "outer"), mid = call.integer(4, "mid"), inner = call.integer(5, "inner");
  if (a.count() != Shape{outer, mid, inner}.count() || b.count() != mid)
    call.wrong_shape("a has shape %s and b %s, expected %lld·%lld·%lld and %lld elements", a.shape.str().c_str(),
                     b.shape.str().c_str(), static_cast<long long>(outer), static_cast<long long>(mid),
                     static_cast<long long>(inner), static_cast<long long>(mid));
  Tensor y = Tensor::empty(a.backend(), a.shape, a.dtype);
  a.backend().binary({y.ref(), a.ref(), b.ref(), op, outer, mid, inner});
  return call.wrap(y);
}

Napi::Value unary(const Call& call) {  // (x, op, p0, p1) → y
  const Tensor& x = call.tensor(0, "x");
  const UnaryOp op = unary_op(call, 1);
  Tensor y = Tensor::empty(x.backend(), x.shape, x.dtype);
  x.backend().unary(
      {y.ref(), x.ref(), op, static_cast<float>(call.number(2, "p0")), static_cast<float>(call.number(3, "p1")), x.count()});
  return call.wrap(y);
}

Napi::Value unary_backward(const Call& call) {  // (dy, x, op, p0, p1) → dx
  const Tensor& dy = call.tensor(0, "dy");
  const Tensor& x = call.tensor(1, "x");
  const UnaryOp op = unary_op(call, 2);
  if (dy.count() != x.count()) call.wrong_shape("dy has shape %s, expected %s", dy.shape.str().c_str(), x.shape.str().c_str());
  Tensor dx = Tensor::empty(x.backend(), x.shape, x.dtype);
  x.backend().unary_backward({dx.ref(), dy.ref(), x.ref(), op, static_cast<float>(call.number(3, "p0")),
                              static_cast<float>(call.number(4, "p1")), x.count()});
  return call.wrap(dx);
}

Napi::Value cast(const Call& call) {  // (x, dtype) → y
  const Tensor& x = call.tensor(0, "x");
  Tensor y = Tensor::empty(x.backend(), x.shape, dtype_from_name(call.string(1, "dtype")));
  x.backend().cast({y.ref(), x.ref(), x.count()});
  return call.wrap(y);
}

}  // namespace

void define_elementwise(Napi::Object exports) {
  define_op(exports, "affine", affine);
  define_op(exports, "affineInto", affine_into);
  define_op(exports, "binary", binary);
  define_op(exports, "unary", unary);
  define_op(exports, "unaryBackward", unary_backward);
  define_op(exports, "cast", cast);
  define_op(exports, "full", full);
}

}  // namespace star
