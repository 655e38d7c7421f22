#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

Napi::Value row_distances(const Call& call) {  // (x (B, l, C), center (B, C)) → f32 (B, l)
  const Tensor& x = call.tensor(0, "x");
  const Tensor& center = call.tensor(1, "center");
  call.expect_rank(x, "x", 3);
  call.expect_shape(center, "center", {x.shape[0], x.shape[2]});
  call.expect_dtype(center, "center", x.dtype);
  Tensor y = Tensor::empty(x.backend(), {x.shape[0], x.shape[1]}, DType::F32);
  x.backend().row_distances({y.ref(), x.ref(), center.ref(), x.shape[0], x.shape[1], x.shape[2]});
  return call.wrap(y);
}

Napi::Value top_positions(const Call& call) {  // (score (N, l), keep) → positions i32 (N, keep)
  const Tensor& score = call.tensor(0, "score");
  call.expect_rank(score, "score", 2);
  call.expect_dtype(score, "score", DType::F32);
  const int64_t keep = call.integer(1, "keep", 0, score.shape[1]);
  Tensor positions = Tensor::empty(score.backend(), {score.shape[0], keep}, DType::I32);
  score.backend().top_positions({positions.ref(), score.ref(), score.shape[0], score.shape[1], keep});
  return call.wrap(positions);
}

const Tensor& positions_of(const Call& call, size_t i, int64_t batch) {
  const Tensor& positions = call.tensor(i, "positions");
  call.expect_rank(positions, "positions", 2);
  call.expect_dtype(positions, "positions", DType::I32);
  call.expect_shape(positions, "positions", {batch, positions.shape[1]});
  return positions;
}

Napi::Value gather_rows(const Call& call) {  // (x (B, l, C), positions i32 (B, k)) → (B, k, C)
  const Tensor& x = call.tensor(0, "x");
  call.expect_rank(x, "x", 3);
  const Tensor& positions = positions_of(call, 1, x.shape[0]);
  const int64_t count = positions.shape[1];
  Tensor y = Tensor::empty(x.backend(), {x.shape[0], count, x.shape[2]}, x.dtype);
  x.backend().gather_rows({y.ref(), x.ref(), positions.ref(), x.shape[0], x.shape[1], count, x.shape[2]});
  return call.wrap(y);
}

Napi::Value scatter_rows(const Call& call) {  // (y (B, l, C), x (B, k, C), positions i32 (B, k)): y changes in place
  const Tensor& y = call.tensor(0, "y");
  const Tensor& x = call.tensor(1, "x");
  call.expect_rank(y, "y", 3);
  const Tensor& positions = positions_of(call, 2, y.shape[0]);
  const int64_t count = positions.shape[1];
  call.expect_shape(x, "x", {y.shape[0], count, y.shape[2]});
  call.expect_dtype(x, "x", y.dtype);
  y.backend().scatter_rows({y.ref(), x.ref(), positions.ref(), y.shape[0], y.shape[1], count, y.shape[2]});
  return call.info.Env().Undefined();
}

}  // namespace

void define_rows(Napi::Object exports) {
  define_op(exports, "rowDistances", row_distances);
  define_op(exports, "topPositions", top_positions);
  define_op(exports, "gatherRows", gather_rows);
  define_op(exports, "scatterRows", scatter_rows);
}

}  // namespace star
