#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

ReduceOp reduce_op(const Call& call, size_t i) {
  const std::string name = call.string(i, "op");
  if (name == "sum") return ReduceOp::Sum;
  if (name == "sumSquares") return ReduceOp::SumSquares;
  if (name == "sumAbs") return ReduceOp::SumAbs;
  if (name == "max") return ReduceOp::Max;
  fail(ErrorCode::Argument, "%s: op is '%s', expected sum, sumSquares, sumAbs or max", call.op, name.c_str());
}

Napi::Value reduce(const Call& call) {  // (x (outer, mid, inner), op, outer, mid, inner, scale) → (mid)
  const Tensor& x = call.tensor(0, "x");
  const ReduceOp op = reduce_op(call, 1);
  const int64_t outer = call.integer(2, "outer"), mid = call.integer(3, "mid"), inner = call.integer(4, "inner");
  if (x.count() != Shape{outer, mid, inner}.count())
    call.wrong_shape("x has shape %s, expected %lld·%lld·%lld elements", x.shape.str().c_str(), static_cast<long long>(outer),
                     static_cast<long long>(mid), static_cast<long long>(inner));
  Tensor y = Tensor::empty(x.backend(), {mid}, x.dtype);
  x.backend().reduce({y.ref(), x.ref(), op, static_cast<float>(call.number(5, "scale")), outer, mid, inner});
  return call.wrap(y);
}

}  // namespace

void define_reduce(Napi::Object exports) { define_op(exports, "reduce", reduce); }

}  // namespace star
