#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

Napi::Value embedding(const Call& call) {   // (table (rows, cols), ids i32 any shape) → (…ids, cols)
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

Napi::Value embedding_backward(const Call& call) {   // (dy (…ids, cols), ids, rows) → dtable (rows, cols)
  const Tensor& dy = call.tensor(0, "dy");
  const Tensor& ids = call.tensor(1, "ids");
  const int64_t rows = call.integer(2, "rows"), cols = dy.shape[-1];
  if (dy.count() != ids.count() * cols) call.wrong_shape("dy %s does not fit ids %s", dy.shape.str().c_str(), ids.shape.str().c_str());
  Tensor dtable = Tensor::empty(dy.backend(), {rows, cols}, dy.dtype);
  dy.backend().embedding_backward({dtable.ref(), dy.ref(), ids.ref(), ids.count(), rows, cols});
  return call.wrap(dtable);
}

}  // namespace

void define_quantize(Napi::Object exports) {
  define_op(exports, "embedding", embedding);
  define_op(exports, "embeddingBackward", embedding_backward);
}

}  // namespace star
