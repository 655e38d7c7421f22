#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

const Tensor& scale_of(const Call& call, size_t i, const Tensor& q) {
  const Tensor& scale = call.tensor(i, "scale");
  call.expect_dtype(scale, "scale", DType::F32);
  call.expect_shape(scale, "scale", {q.shape[0]});
  return scale;
}

const Tensor& matrix(const Call& call, size_t i, const char* name) {
  const Tensor& x = call.tensor(i, name);
  call.expect_rank(x, name, 2);
  return x;
}

Napi::Value quantize_rows(const Call& call) {  // x (N, K) → [q i8 (N, K), scale f32 (N)]
  const Tensor& x = matrix(call, 0, "x");
  Tensor q = Tensor::empty(x.backend(), x.shape, DType::I8);
  Tensor scale = Tensor::empty(x.backend(), {x.shape[0]}, DType::F32);
  x.backend().quantize_rows({q.ref(), scale.ref(), x.ref(), x.shape[0], x.shape[1]});
  return call.wrap({q, scale});
}

Napi::Value dequantize_rows(const Call& call) {  // (q i8 (N, K), scale f32 (N), dtype) → x (N, K)
  const Tensor& q = matrix(call, 0, "q");
  call.expect_dtype(q, "q", DType::I8);
  const Tensor& scale = scale_of(call, 1, q);
  Tensor x = Tensor::empty(q.backend(), q.shape, dtype_from_name(call.string(2, "dtype")));
  q.backend().dequantize_rows({x.ref(), q.ref(), scale.ref(), q.shape[0], q.shape[1]});
  return call.wrap(x);
}

Napi::Value linear_int8(const Call& call) {  // (x (…, K), w i8 (N, K), scale f32 (N), bias (N) | null, gelu) → y (…, N)
  const Tensor& x = call.tensor(0, "x");
  const Tensor& w = matrix(call, 1, "weight");
  call.expect_dtype(w, "weight", DType::I8);
  const Tensor& scale = scale_of(call, 2, w);
  const Tensor* bias = call.optional_tensor(3, "bias");
  const bool gelu = call.boolean(4, "gelu");
  if (x.shape.rank() < 1 || x.shape[-1] != w.shape[1])
    call.wrong_shape("x has shape %s, expected (…, %lld) for a weight of shape %s", x.shape.str().c_str(),
                     static_cast<long long>(w.shape[1]), w.shape.str().c_str());
  if (bias) call.expect_shape(*bias, "bias", {w.shape[0]});
  Shape shape;
  for (int i = 0; i + 1 < x.shape.rank(); ++i) shape.push_back(x.shape[i]);
  shape.push_back(w.shape[0]);
  Tensor y = Tensor::empty(x.backend(), shape, x.dtype);
  LinearInt8Args args{};
  args.y = y.ref(), args.x = x.ref(), args.w = w.ref(), args.wscale = scale.ref(), args.bias = ref_or_none(bias);
  args.rows = x.shape.count(0, x.shape.rank() - 1), args.n = w.shape[0], args.k = w.shape[1];
  args.activation = gelu ? Activation::Gelu : Activation::None;
  x.backend().linear_int8(args);
  return call.wrap(y);
}

}  // namespace

void define_int8(Napi::Object exports) {
  define_op(exports, "quantizeRows", quantize_rows);
  define_op(exports, "dequantizeRows", dequantize_rows);
  define_op(exports, "linearInt8", linear_int8);
}

}  // namespace star
