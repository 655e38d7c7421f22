#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

struct Rows {
  int64_t rows, vocab;
};

Rows check_logits(const Call& call, const Tensor& logits, const Tensor& targets) {
  call.expect_rank(logits, "logits", 2);
  call.expect_dtype(targets, "targets", DType::I32);
  if (targets.count() != logits.shape[0])
    call.wrong_shape("targets has shape %s, expected one index for each row of logits %s", targets.shape.str().c_str(),
                     logits.shape.str().c_str());
  if (logits.shape[1] == 0) call.wrong_shape("logits has shape %s, expected at least one column", logits.shape.str().c_str());
  return {logits.shape[0], logits.shape[1]};
}

Napi::Value cross_entropy(
    const Call& call) {  // (logits (N, V), targets i32 (N), smoothing, extra class) → [losses, lse, argmax i32, nll], (N) each
  const Tensor& logits = call.tensor(0, "logits");
  const Tensor& targets = call.tensor(1, "targets");
  const double smoothing = call.number(2, "labelSmoothing");
  const bool extra_class = call.boolean(3, "extraClass");
  const auto [rows, vocab] = check_logits(call, logits, targets);
  Backend& backend = logits.backend();
  Tensor losses = Tensor::empty(backend, {rows}, DType::F32), lse = Tensor::empty(backend, {rows}, DType::F32);
  Tensor argmax = Tensor::empty(backend, {rows}, DType::I32), nll = Tensor::empty(backend, {rows}, DType::F32);
  backend.cross_entropy({losses.ref(), lse.ref(), argmax.ref(), logits.ref(), targets.ref(), rows, vocab,
                         static_cast<float>(smoothing), extra_class, nll.ref()});
  return call.wrap({losses, lse, argmax, nll});
}

// (dlosses (N), logits (N, V), lse (N), targets (N), smoothing) → dlogits (N, V)
Napi::Value cross_entropy_backward(const Call& call) {
  const Tensor& dlosses = call.tensor(0, "dlosses");
  const Tensor& logits = call.tensor(1, "logits");
  const Tensor& lse = call.tensor(2, "lse");
  const Tensor& targets = call.tensor(3, "targets");
  const double smoothing = call.number(4, "labelSmoothing");
  const auto [rows, vocab] = check_logits(call, logits, targets);
  if (dlosses.count() != rows)
    call.wrong_shape("dlosses has shape %s, expected (%lld)", dlosses.shape.str().c_str(), static_cast<long long>(rows));
  call.expect_shape(lse, "lse", {rows});
  Tensor dlogits = Tensor::empty(logits.backend(), logits.shape, logits.dtype);
  logits.backend().cross_entropy_backward(
      {dlogits.ref(), dlosses.ref(), logits.ref(), lse.ref(), targets.ref(), rows, vocab, static_cast<float>(smoothing)});
  return call.wrap(dlogits);
}

}  // namespace

void define_loss(Napi::Object exports) {
  define_op(exports, "crossEntropy", cross_entropy);
  define_op(exports, "crossEntropyBackward", cross_entropy_backward);
}

}  // namespace star
