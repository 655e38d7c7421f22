#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

void expect_logits(const Call& call, const Tensor& logits) {
  call.expect_rank(logits, "logits", 2);
  if (logits.shape[1] == 0) call.wrong_shape("logits has shape %s, expected at least one column", logits.shape.str().c_str());
}

Napi::Value draw(const Call& call) {  // (logits (N, V), uniform (N), topK, topP) → [ids i32 (N), probability (N)]
  const Tensor& logits = call.tensor(0, "logits");
  const Tensor& uniform = call.tensor(1, "uniform");
  expect_logits(call, logits);
  const int64_t rows = logits.shape[0];
  if (uniform.count() != rows)
    call.wrong_shape("uniform has shape %s, expected one number for each row of logits %s", uniform.shape.str().c_str(),
                     logits.shape.str().c_str());
  Tensor ids = Tensor::empty(logits.backend(), {rows}, DType::I32),
         probability = Tensor::empty(logits.backend(), {rows}, DType::F32);
  logits.backend().draw({ids.ref(),
                         probability.ref(),
                         {},
                         logits.ref(),
                         uniform.ref(),
                         rows,
                         logits.shape[1],
                         call.integer(2, "topK"),
                         static_cast<float>(call.number(3, "topP"))});
  return call.wrap({ids, probability});
}

Napi::Value filter_probabilities(const Call& call) {  // (logits (N, V), topK, topP) → (N, V)
  const Tensor& logits = call.tensor(0, "logits");
  expect_logits(call, logits);
  Tensor p = Tensor::empty(logits.backend(), logits.shape, DType::F32);
  logits.backend().draw({{},
                         {},
                         p.ref(),
                         logits.ref(),
                         {},
                         logits.shape[0],
                         logits.shape[1],
                         call.integer(1, "topK"),
                         static_cast<float>(call.number(2, "topP"))});
  return call.wrap(p);
}

// (logits (N, V), noise (N, V), codebook (V, Z), topK, topP, factor, temperature) → (N, Z)
Napi::Value gumbel_mix(const Call& call) {
  const Tensor& logits = call.tensor(0, "logits");
  const Tensor& noise = call.tensor(1, "noise");
  const Tensor& codebook = call.tensor(2, "codebook");
  expect_logits(call, logits);
  call.expect_shape(noise, "noise", logits.shape);
  call.expect_rank(codebook, "codebook", 2);
  call.expect_shape(codebook, "codebook", {logits.shape[1], codebook.shape[1]});
  const double temperature = call.number(6, "temperature");
  if (!(temperature > 0)) fail(ErrorCode::Argument, "gumbelMix: temperature is %g, expected a number above 0", temperature);
  Tensor y = Tensor::empty(logits.backend(), {logits.shape[0], codebook.shape[1]}, logits.dtype);
  logits.backend().gumbel_mix({y.ref(), logits.ref(), noise.ref(), codebook.ref(), logits.shape[0], logits.shape[1],
                               codebook.shape[1], call.integer(3, "topK"), static_cast<float>(call.number(4, "topP")),
                               static_cast<float>(call.number(5, "factor")), static_cast<float>(temperature)});
  return call.wrap(y);
}

// (ids i32 (N, l), known u8 (N, l), drawn i32 (N, l), score (N, l), fix, amongAll): ids and known change in place
Napi::Value unmask(const Call& call) {
  const Tensor& ids = call.tensor(0, "ids");
  const Tensor& known = call.tensor(1, "known");
  const Tensor& drawn = call.tensor(2, "drawn");
  const Tensor& score = call.tensor(3, "score");
  call.expect_rank(ids, "ids", 2);
  call.expect_shape(known, "known", ids.shape);
  call.expect_shape(drawn, "drawn", ids.shape);
  call.expect_shape(score, "score", ids.shape);
  const int64_t fix = call.integer(4, "fix");
  if (fix < 0) fail(ErrorCode::Argument, "unmask: fix is %lld, expected 0 or more", static_cast<long long>(fix));
  ids.backend().unmask(
      {ids.ref(), known.ref(), drawn.ref(), score.ref(), ids.shape[0], ids.shape[1], fix, call.boolean(5, "amongAll")});
  return call.info.Env().Undefined();
}

}  // namespace

void define_sampling(Napi::Object exports) {
  define_op(exports, "draw", draw);
  define_op(exports, "filterProbabilities", filter_probabilities);
  define_op(exports, "gumbelMix", gumbel_mix);
  define_op(exports, "unmask", unmask);
}

}  // namespace star
