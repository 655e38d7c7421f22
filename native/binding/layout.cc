#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

int axis_of(const Call& call, size_t i, const Shape& shape) {
  const int64_t axis = call.integer(i, "axis");
  if (axis < 0 || axis >= shape.rank())
    call.wrong_shape("axis is %lld, expected 0 to %d for shape %s", static_cast<long long>(axis), shape.rank() - 1,
                     shape.str().c_str());
  return static_cast<int>(axis);
}

Shape with_dim(const Shape& shape, int axis, int64_t size) {
  Shape result;
  for (int i = 0; i < shape.rank(); ++i) result.push_back(i == axis ? size : shape[i]);
  return result;
}

// Copies `count` steps of `axis` from x to y, which agree in all other axes.
void copy_along(const Tensor& y, int64_t y_start, const Tensor& x, int64_t x_start, int axis, int64_t count) {
  y.backend().copy_block({y.ref(), x.ref(), x.shape.count(0, axis), x.shape.count(axis + 1, x.shape.rank()), count, y.shape[axis],
                          y_start, x.shape[axis], x_start});
}

Napi::Value permute(const Call& call) {  // (x, perm) → axis i of y is axis perm[i] of x
  const Tensor& x = call.tensor(0, "x");
  const std::vector<int64_t> perm = call.integers(1, "perm");
  const int rank = x.shape.rank();
  PermuteArgs args{{}, x.ref(), x.shape, {}};
  Shape shape;
  unsigned seen = 0;
  for (int64_t axis : perm) {
    if (axis < 0 || axis >= rank || (seen >> axis & 1) || static_cast<int>(perm.size()) != rank)
      call.wrong_shape("perm must name each axis of x with shape %s once", x.shape.str().c_str());
    seen |= 1u << axis;
    args.perm[static_cast<size_t>(shape.rank())] = static_cast<int>(axis);
    shape.push_back(x.shape[static_cast<int>(axis)]);
  }
  if (static_cast<int>(perm.size()) != rank)
    call.wrong_shape("perm must name each axis of x with shape %s once", x.shape.str().c_str());
  Tensor y = Tensor::empty(x.backend(), shape, x.dtype);
  args.y = y.ref();
  x.backend().permute(args);
  return call.wrap(y);
}

Napi::Value concat(const Call& call) {  // (tensors, axis)
  const std::vector<const Tensor*> xs = call.tensors(0, "tensors");
  if (xs.empty()) call.wrong_shape("tensors is empty, expected one or more");
  const Tensor& first = *xs[0];
  const int axis = axis_of(call, 1, first.shape);
  int64_t size = 0;
  for (const Tensor* x : xs) {
    call.expect_dtype(*x, "tensors", first.dtype);
    if (x->shape.rank() != first.shape.rank() || !(with_dim(x->shape, axis, 0) == with_dim(first.shape, axis, 0)))
      call.wrong_shape("tensors have shapes %s and %s, expected the same except along axis %d", first.shape.str().c_str(),
                       x->shape.str().c_str(), axis);
    size += x->shape[axis];
  }
  Tensor y = Tensor::empty(first.backend(), with_dim(first.shape, axis, size), first.dtype);
  int64_t at = 0;
  for (const Tensor* x : xs) {
    copy_along(y, at, *x, 0, axis, x->shape[axis]);
    at += x->shape[axis];
  }
  return call.wrap(y);
}

Napi::Value slice_axis(const Call& call) {  // (x, axis, start, end) → a copy of [start, end)
  const Tensor& x = call.tensor(0, "x");
  const int axis = axis_of(call, 1, x.shape);
  const int64_t start = call.integer(2, "start"), end = call.integer(3, "end");
  if (start < 0 || end < start || end > x.shape[axis])
    call.wrong_shape("[%lld, %lld) lies outside axis %d of shape %s", static_cast<long long>(start), static_cast<long long>(end),
                     axis, x.shape.str().c_str());
  Tensor y = Tensor::empty(x.backend(), with_dim(x.shape, axis, end - start), x.dtype);
  copy_along(y, 0, x, start, axis, end - start);
  return call.wrap(y);
}

Napi::Value copy_into(const Call& call) {  // (y, x, axis, start): x overwrites [start, start + size) of the axis of y
  const Tensor& y = call.tensor(0, "y");
  const Tensor& x = call.tensor(1, "x");
  const int axis = axis_of(call, 2, y.shape);
  const int64_t start = call.integer(3, "start");
  call.expect_dtype(x, "x", y.dtype);
  if (x.shape.rank() != y.shape.rank() || !(with_dim(x.shape, axis, 0) == with_dim(y.shape, axis, 0)) || start < 0 ||
      start > y.shape[axis] - x.shape[axis])
    call.wrong_shape("x with shape %s does not fit into axis %d of shape %s at %lld", x.shape.str().c_str(), axis,
                     y.shape.str().c_str(), static_cast<long long>(start));
  copy_along(y, start, x, 0, axis, x.shape[axis]);
  return call.info.Env().Undefined();
}

}  // namespace

void define_layout(Napi::Object exports) {
  define_op(exports, "permute", permute);
  define_op(exports, "concat", concat);
  define_op(exports, "sliceAxis", slice_axis);
  define_op(exports, "copyInto", copy_into);
}

}  // namespace star
