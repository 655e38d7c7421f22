#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

Napi::Value embedding(const Call& call) {  // (table (rows, cols), ids i32 any shape) → (…ids, cols)
  const Tensor& table = call.tensor(0, "table");
  const Tensor& ids = call.tensor(1, "ids");
  call.expect_rank(table, "table", 2);
  call.expect_dtype(ids, "ids", DType::I32);
  Shape shape = ids.shape;
  shape.push_back(table.shape[1]);
  Tensor y = Tensor::empty(table.backend(), shape, table.dtype);
  table.backend().embedding({y.ref(), table.ref(), ids.ref(), ids.count(), table.shape[0], table.shape[1]});
  return call.wrap(y);
}

Napi::Value embedding_backward(const Call& call) {  // (dy (…ids, cols), ids, rows) → dtable (rows, cols)
  const Tensor& dy = call.tensor(0, "dy");
  const Tensor& ids = call.tensor(1, "ids");
  const int64_t rows = call.integer(2, "rows");
  call.expect_dtype(ids, "ids", DType::I32);
  if (dy.shape.rank() == 0) call.wrong_shape("dy has shape (), expected one dimension or more");
  const int64_t cols = dy.shape[-1];
  if (dy.count() != ids.count() * cols)
    call.wrong_shape("dy %s does not fit ids %s", dy.shape.str().c_str(), ids.shape.str().c_str());
  Tensor dtable = Tensor::empty(dy.backend(), {rows, cols}, dy.dtype);
  dy.backend().embedding_backward({dtable.ref(), dy.ref(), ids.ref(), ids.count(), rows, cols});
  return call.wrap(dtable);
}

Napi::Value nearest_row(const Call& call) {  // (x (…, Z), codebook (V, Z)) → [ids i32 (…), distance f32 (…)]
  const Tensor& x = call.tensor(0, "x");
  const Tensor& codebook = call.tensor(1, "codebook");
  call.expect_rank(codebook, "codebook", 2);
  const int64_t vocab = codebook.shape[0], cols = codebook.shape[1];
  if (x.shape.rank() == 0 || x.shape[-1] != cols)
    call.wrong_shape("x has shape %s, expected a last dimension of %lld as in codebook %s", x.shape.str().c_str(),
                     static_cast<long long>(cols), codebook.shape.str().c_str());
  if (vocab == 0 || cols == 0)
    call.wrong_shape("codebook has shape %s, expected at least one row and one column", codebook.shape.str().c_str());
  Shape shape;
  for (int i = 0; i + 1 < x.shape.rank(); ++i) shape.push_back(x.shape[i]);
  Tensor ids = Tensor::empty(x.backend(), shape, DType::I32), distance = Tensor::empty(x.backend(), shape, DType::F32);
  x.backend().nearest_row({ids.ref(), distance.ref(), x.ref(), codebook.ref(), ids.count(), cols, vocab});
  return call.wrap({ids, distance});
}

}  // namespace

void define_quantize(Napi::Object exports) {
  define_op(exports, "embedding", embedding);
  define_op(exports, "embeddingBackward", embedding_backward);
  define_op(exports, "nearestRow", nearest_row);
}

}  // namespace star
