#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

// The dimensions of a product of `a` and `b`: one of them may be a single matrix shared by the other's batch.
struct Product {
  MatmulArgs args;
  Shape batch_shape;
};

Product product(const Call& call, const Tensor& a, const Tensor& b, bool trans_a, bool trans_b) {
  if (a.shape.rank() < 2 || b.shape.rank() < 2)
    call.wrong_shape("a has shape %s and b %s, expected at least 2 dimensions each", a.shape.str().c_str(),
                     b.shape.str().c_str());
  Product p{};
  MatmulArgs& m = p.args;
  m.m = a.shape[trans_a ? -1 : -2];
  m.k = a.shape[trans_a ? -2 : -1];
  m.n = b.shape[trans_b ? -2 : -1];
  const int64_t k = b.shape[trans_b ? -1 : -2];
  bool same = k == m.k;
  const Shape& whole = a.shape.rank() >= b.shape.rank() ? a.shape : b.shape;
  const bool shared_a = a.shape.rank() == 2, shared_b = b.shape.rank() == 2;
  for (int i = 0; i < whole.rank() - 2; ++i) p.batch_shape.push_back(whole[i]);
  if (!shared_a && !shared_b) {
    same = same && a.shape.rank() == b.shape.rank();
    for (int i = 0; same && i < whole.rank() - 2; ++i) same = a.shape[i] == b.shape[i];
  }
  if (!same)
    call.wrong_shape(
        "a has shape %s%s and b %s%s: the inner dimensions must agree, and the batch dimensions unless one is a matrix",
        a.shape.str().c_str(), trans_a ? " transposed" : "", b.shape.str().c_str(), trans_b ? " transposed" : "");
  m.a = a.ref();
  m.b = b.ref();
  m.batch = p.batch_shape.count();
  m.a_stride = shared_a ? 0 : m.m * m.k;
  m.b_stride = shared_b ? 0 : m.n * m.k;
  m.trans_a = trans_a;
  m.trans_b = trans_b;
  return p;
}

Napi::Value matmul(const Call& call) {  // (a, b, transA, transB) → c
  const Tensor& a = call.tensor(0, "a");
  Product p = product(call, a, call.tensor(1, "b"), call.boolean(2, "transA"), call.boolean(3, "transB"));
  Shape shape = p.batch_shape;
  shape.push_back(p.args.m);
  shape.push_back(p.args.n);
  Tensor c = Tensor::empty(a.backend(), shape, a.dtype);
  p.args.c = c.ref();
  a.backend().matmul(p.args);
  return call.wrap(c);
}

Napi::Value matmul_sum(const Call& call) {  // (a, b, transA, transB) → c (m, n), the products of a batch added up
  const Tensor& a = call.tensor(0, "a");
  const Tensor& b = call.tensor(1, "b");
  MatmulArgs m = product(call, a, b, call.boolean(2, "transA"), call.boolean(3, "transB")).args;
  Tensor c = Tensor::empty(a.backend(), {m.m, m.n}, a.dtype);
  m.c = c.ref();
  if (m.trans_a && !m.trans_b && m.a_stride && m.b_stride) {  // stacked on the inner dimension the sum is one product
    m.k *= m.batch;
    m.batch = 1;
    a.backend().matmul(m);
    return call.wrap(c);
  }
  const int64_t batch = m.batch;
  m.batch = 1;
  if (batch == 0) c.backend().fill({c.ref(), 0.0, c.count()});
  for (int64_t i = 0; i < batch; ++i) {
    m.a.data = static_cast<const char*>(a.data()) + i * m.a_stride * static_cast<int64_t>(dtype_size(a.dtype));
    m.b.data = static_cast<const char*>(b.data()) + i * m.b_stride * static_cast<int64_t>(dtype_size(b.dtype));
    m.accumulate = i > 0;
    a.backend().matmul(m);
  }
  return call.wrap(c);
}

int64_t rows_of(const Tensor& x) { return x.shape.count(0, x.shape.rank() - 1); }  // x (…, k) as one matrix of rows

Shape with_last(const Shape& shape, int64_t last) {
  Shape out;
  for (int i = 0; i + 1 < shape.rank(); ++i) out.push_back(shape[i]);
  out.push_back(last);
  return out;
}

Napi::Value linear(const Call& call) {  // (x (…, k), w (n, k), bias | null, gelu, keepSum) → [y (…, n), sum (…, n) | null]
  const Tensor& x = call.tensor(0, "x");
  const Tensor& w = call.tensor(1, "weight");
  const Tensor* bias = call.optional_tensor(2, "bias");
  const bool gelu = call.boolean(3, "gelu"), keep = call.boolean(4, "keepSum");
  call.expect_rank(w, "weight", 2);
  if (x.shape.rank() < 1 || x.shape[-1] != w.shape[1])
    call.wrong_shape("x has shape %s, expected (…, %lld) for a weight of shape %s", x.shape.str().c_str(),
                     static_cast<long long>(w.shape[1]), w.shape.str().c_str());
  if (bias) call.expect_shape(*bias, "bias", {w.shape[0]});
  MatmulArgs m{};
  m.a = x.ref();
  m.b = w.ref();
  m.batch = 1;
  m.m = rows_of(x);
  m.k = w.shape[1];
  m.n = w.shape[0];
  m.trans_b = true;
  m.bias = ref_or_none(bias);
  m.activation = gelu ? Activation::Gelu : Activation::None;
  const Shape shape = with_last(x.shape, m.n);
  Tensor y = Tensor::empty(x.backend(), shape, x.dtype), sum;
  m.c = y.ref();
  if (keep) {
    sum = Tensor::empty(x.backend(), shape, x.dtype);
    m.pre_activation = sum.ref();
  }
  x.backend().matmul(m);
  return call.wrap({y, sum});
}

// (dy (…, n), w (n, k), sum (…, k) | null) → dx (…, k), times gelu'(sum) where sum is given
Napi::Value linear_backward_input(const Call& call) {
  const Tensor& dy = call.tensor(0, "dy");
  const Tensor& w = call.tensor(1, "weight");
  const Tensor* sum = call.optional_tensor(2, "sum");
  call.expect_rank(w, "weight", 2);
  if (dy.shape.rank() < 1 || dy.shape[-1] != w.shape[0])
    call.wrong_shape("dy has shape %s, expected (…, %lld)", dy.shape.str().c_str(), static_cast<long long>(w.shape[0]));
  const Shape shape = with_last(dy.shape, w.shape[1]);
  if (sum) call.expect_shape(*sum, "sum", shape);
  Tensor dx = Tensor::empty(dy.backend(), shape, dy.dtype);
  dy.backend().linear_backward_input({dx.ref(), dy.ref(), w.ref(), ref_or_none(sum), rows_of(dy), w.shape[0], w.shape[1]});
  return call.wrap(dx);
}

// (dy (…, n), x (…, k), withBias) → [dw (n, k), dbias (n) | null]
Napi::Value linear_backward_weight(const Call& call) {
  const Tensor& dy = call.tensor(0, "dy");
  const Tensor& x = call.tensor(1, "x");
  if (dy.shape.rank() < 1 || x.shape.rank() != dy.shape.rank() || !(with_last(x.shape, 0) == with_last(dy.shape, 0)))
    call.wrong_shape("dy has shape %s and x %s, expected the same but for the last dimension", dy.shape.str().c_str(),
                     x.shape.str().c_str());
  const int64_t n = dy.shape[-1], k = x.shape[-1];
  Tensor dw = Tensor::empty(dy.backend(), {n, k}, dy.dtype), dbias;
  if (call.boolean(2, "withBias")) dbias = Tensor::empty(dy.backend(), {n}, dy.dtype);
  dy.backend().linear_backward_weight({dw.ref(), dbias.storage ? dbias.ref() : Ref{}, dy.ref(), x.ref(), rows_of(dy), n, k});
  return call.wrap({dw, dbias});
}

}  // namespace

void define_matmul(Napi::Object exports) {
  define_op(exports, "matmul", matmul);
  define_op(exports, "matmulSum", matmul_sum);
  define_op(exports, "linear", linear);
  define_op(exports, "linearBackwardInput", linear_backward_input);
  define_op(exports, "linearBackwardWeight", linear_backward_weight);
}

}  // namespace star
