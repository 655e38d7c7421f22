#include "binding/call.h"
#include "binding/families.h"
#include "core/registry.h"

namespace star {

namespace {

void run_affine(const Call& call, const Tensor& y, size_t first) {   // arguments from `first`: a, b, alpha, beta, gamma
  const Tensor& a = call.tensor(first, "a");
  const Tensor* b = call.optional_tensor(first + 1, "b");
  if (a.count() != y.count()) call.wrong_shape("a has shape %s, expected %s", a.shape.str().c_str(), y.shape.str().c_str());
  if (b && b->count() != y.count()) call.wrong_shape("b has shape %s, expected %s", b->shape.str().c_str(), y.shape.str().c_str());
  y.backend().affine({y.ref(), a.ref(), ref_or_none(b), static_cast<float>(call.number(first + 2, "alpha")),
                      static_cast<float>(call.number(first + 3, "beta")), static_cast<float>(call.number(first + 4, "gamma")), y.count()});
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

}  // namespace

void define_elementwise(Napi::Object exports) {
  define_op(exports, "affine", affine);
  define_op(exports, "affineInto", affine_into);
  define_op(exports, "full", full);
}

}  // namespace star
