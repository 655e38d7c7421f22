// Cross-entropy with label smoothing, its prediction, and its gradient.
#include <cmath>

#include "core/error.h"
#include "support.h"

namespace star::test {
namespace {

class CrossEntropy : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(AllFloats, CrossEntropy, ::testing::ValuesIn(kFloats),
                         [](const auto& info) { return dtype_name(info.param); });

const int64_t kShapes[][2] = {{1, 1},    {5, 3},    {9, 64},   {3, 255},  {2, 1000}, {2, 1024},
                              {3, 1027}, {2, 4096}, {1, 8192}, {2, 9001}, {0, 8}};

struct Reference {
  std::vector<double> losses, lse, nll, dlogits;
  std::vector<int32_t> argmax;
};

Reference reference(const std::vector<float>& logits, const std::vector<int32_t>& targets, const std::vector<float>& dlosses,
                    size_t vocab, double smoothing, bool extra_class = false) {
  Reference r;
  for (size_t i = 0; i < targets.size(); ++i) {
    const float* z = logits.data() + i * vocab;
    double top = -INFINITY, total = 0, sum = 0;
    int32_t argmax = 0;
    for (size_t v = 0; v < vocab; ++v) {
      if (z[v] > top) {
        top = z[v];
        argmax = static_cast<int32_t>(v);
      }
      sum += z[v];
    }
    for (size_t v = 0; v < vocab; ++v) total += std::exp(z[v] - top);
    r.nll.push_back(top + std::log(total) - z[targets[i]]);
    if (extra_class) total += std::exp(-top);  // of logit 0
    const double lse = top + std::log(total), count = static_cast<double>(vocab);
    const double kept = static_cast<float>(lse);  // for the backward: at 60000 a float has steps of 0.004
    r.lse.push_back(lse);
    r.argmax.push_back(argmax);
    r.losses.push_back(lse - (1.0 - smoothing) * z[targets[i]] - (smoothing == 0 ? 0.0 : smoothing * sum / count));
    for (size_t v = 0; v < vocab && !dlosses.empty(); ++v)
      r.dlogits.push_back(dlosses[i] * (std::exp(z[v] - kept) - (v == static_cast<size_t>(targets[i]) ? 1.0 - smoothing : 0.0) -
                                        smoothing / count));
  }
  return r;
}

TEST_P(CrossEntropy, LossesAndGradients) {
  const DType dtype = GetParam();
  for (const auto& [rows, vocab] : kShapes) {
    for (float smoothing : {0.0f, 0.1f}) {
      SCOPED_TRACE(::testing::Message() << rows << " x " << vocab << ", smoothing " << smoothing);
      const auto logits = rounded(random_values(rows * vocab, 1, -8.0f, 8.0f), dtype);
      const auto targets = random_integers(rows, 2, 0, static_cast<int32_t>(vocab));
      const auto dlosses = random_values(rows, 3);
      const Reference r = reference(logits, targets, dlosses, static_cast<size_t>(vocab), smoothing);
      const auto device_logits = upload(logits, dtype), device_targets = upload(targets), device_dlosses = upload(dlosses);
      const auto losses = empty(rows), lse = empty(rows), argmax = empty(rows, DType::I32);
      backend().cross_entropy({losses, lse, argmax, device_logits, device_targets, rows, vocab, smoothing});
      expect_close("cross_entropy", losses.values(), r.losses, DType::F32);
      expect_close("cross_entropy.lse", lse.values(), r.lse, DType::F32);
      EXPECT_EQ(argmax.integers(), r.argmax);

      const auto dlogits = empty(rows * vocab, dtype);
      backend().cross_entropy_backward({dlogits, device_dlosses, device_logits, lse, device_targets, rows, vocab, smoothing});
      if (vocab > 1) expect_close("cross_entropy_backward", dlogits.values(), r.dlogits, dtype);
      // In place of the logits.
      backend().cross_entropy_backward(
          {device_logits, device_dlosses, device_logits, lse, device_targets, rows, vocab, smoothing});
      EXPECT_EQ(device_logits.bytes(), dlogits.bytes());
    }
  }
}

TEST_P(CrossEntropy, ExtraClassAndWhatTheVocabularyAloneLoses) {
  const DType dtype = GetParam();
  for (const auto& [rows, vocab] : kShapes) {
    if (vocab == 1) continue;  // its loss alone is 0, and with an extra class a difference of terms that are close
    for (float offset : {0.0f, -12.0f, 12.0f}) {  // the extra class weighs as much as others, nearly all, nearly nothing
      SCOPED_TRACE(::testing::Message() << rows << " x " << vocab << ", logits around " << offset);
      const auto logits = rounded(random_values(rows * vocab, 21, offset - 2.0f, offset + 2.0f), dtype);
      const auto targets = random_integers(rows, 22, 0, static_cast<int32_t>(vocab));
      const auto dlosses = random_values(rows, 23);
      const Reference r = reference(logits, targets, dlosses, static_cast<size_t>(vocab), 0.1f, true);
      const auto device_logits = upload(logits, dtype), device_targets = upload(targets), device_dlosses = upload(dlosses);
      const auto losses = empty(rows), lse = empty(rows), nll = empty(rows), argmax = empty(rows, DType::I32);
      backend().cross_entropy({losses, lse, argmax, device_logits, device_targets, rows, vocab, 0.1f, true, nll});
      expect_close("cross_entropy", losses.values(), r.losses, DType::F32);
      expect_close("cross_entropy.lse, extra class", lse.values(), r.lse, DType::F32);
      expect_close("cross_entropy", nll.values(), r.nll, DType::F32);
      EXPECT_EQ(argmax.integers(), r.argmax);
      const auto dlogits = empty(rows * vocab, dtype);
      backend().cross_entropy_backward({dlogits, device_dlosses, device_logits, lse, device_targets, rows, vocab, 0.1f});
      expect_close("cross_entropy_backward", dlogits.values(), r.dlogits, dtype);
    }
  }
}

TEST_P(CrossEntropy, WithoutArgmax) {
  const auto logits = upload(random_values(3 * 20, 4), GetParam());
  const auto targets = upload(random_integers(3, 5, 0, 20));
  const auto losses = empty(3), lse = empty(3), again = empty(3), argmax = empty(3, DType::I32);
  backend().cross_entropy({losses, lse, {}, logits, targets, 3, 20, 0.0f});
  backend().cross_entropy({again, lse, argmax, logits, targets, 3, 20, 0.0f});
  EXPECT_EQ(losses.bytes(), again.bytes());
}

// The largest value twice, in every distance and in both kinds of rows: the lower index is the prediction.
TEST_P(CrossEntropy, TiesGoToTheLowestIndex) {
  for (int64_t vocab : {9, 40, 1024, 1033, 3000}) {
    std::vector<float> logits;
    std::vector<int32_t> expected;
    const auto firsts = random_integers(12, 6, 0, static_cast<int32_t>(vocab - 1));
    for (int32_t first : firsts) {
      std::vector<float> row(static_cast<size_t>(vocab), -1.0f);
      row[static_cast<size_t>(first)] = row[static_cast<size_t>(first + 1 + (vocab - 2 - first) / 2)] = 2.0f;
      row.back() = 2.0f;
      logits.insert(logits.end(), row.begin(), row.end());
      expected.push_back(first);
    }
    const auto device_logits = upload(logits, GetParam());
    const auto targets = upload(std::vector<int32_t>(12, 0));
    const auto losses = empty(12), lse = empty(12), argmax = empty(12, DType::I32);
    backend().cross_entropy({losses, lse, argmax, device_logits, targets, 12, vocab, 0.0f});
    EXPECT_EQ(argmax.integers(), expected) << vocab;
  }
}

TEST_P(CrossEntropy, ExtremeLogits) {
  const DType dtype = GetParam();
  const size_t vocab = 1500;  // a block a row; and 5, a warp a row
  for (size_t cols : {size_t{5}, vocab}) {
    std::vector<float> logits;
    const auto row = [&](float others, size_t at, float value) {
      logits.insert(logits.end(), cols, others);
      logits[logits.size() - cols + at] = value;
    };
    row(-INFINITY, 3, 2.0f);  // all but one are masked
    row(-INFINITY, 4, 60000.0f);
    row(-60000.0f, 2, 60000.0f);
    row(60000.0f, 1, 0.0f);   // the target is far below
    row(0.0f, 0, -INFINITY);  // the target is masked
    logits = rounded(logits, dtype);
    const std::vector<int32_t> targets{3, 4, 2, 1, 0};
    const std::vector<float> dlosses(5, 1.0f);
    const Reference r = reference(logits, targets, dlosses, cols, 0.0);
    const auto device_logits = upload(logits, dtype), device_targets = upload(targets), device_dlosses = upload(dlosses);
    const auto losses = empty(5), lse = empty(5), argmax = empty(5, DType::I32);
    backend().cross_entropy({losses, lse, argmax, device_logits, device_targets, 5, static_cast<int64_t>(cols), 0.0f});
    expect_close("cross_entropy", losses.values(), r.losses, DType::F32);
    expect_close("cross_entropy.lse", lse.values(), r.lse, DType::F32);
    EXPECT_EQ(argmax.integers(), r.argmax);
    const auto dlogits = empty(static_cast<int64_t>(logits.size()), dtype);
    backend().cross_entropy_backward(
        {dlogits, device_dlosses, device_logits, lse, device_targets, 5, static_cast<int64_t>(cols), 0.0f});
    expect_close("cross_entropy_backward", dlogits.values(), r.dlogits, dtype);
  }
}

TEST(CrossEntropyValues, RowsWithoutAFiniteLogitAndNan) {
  const std::vector<float> logits{-INFINITY, -INFINITY, -INFINITY, 1.0f, NAN, 2.0f};
  const auto device_logits = upload(logits);
  const auto targets = upload(std::vector<int32_t>{0, 0});
  const auto losses = empty(2), lse = empty(2), argmax = empty(2, DType::I32);
  backend().cross_entropy({losses, lse, argmax, device_logits, targets, 2, 3, 0.0f});
  EXPECT_EQ(lse.values()[0], -INFINITY);
  EXPECT_TRUE(std::isnan(lse.values()[1]));
  EXPECT_TRUE(std::isnan(losses.values()[1]));
  EXPECT_EQ(argmax.integers(), (std::vector<int32_t>{0, 2}));
}

TEST(CrossEntropyValues, ATargetOutsideTheVocabularyIsReported) {
  const auto logits = upload(random_values(2 * 4, 7));
  const auto losses = empty(2), lse = empty(2), dlogits = empty(8), dlosses = upload(std::vector<float>{1.0f, 1.0f});
  for (int32_t bad : {-1, 4}) {
    const auto targets = upload(std::vector<int32_t>{1, bad});
    const auto forward = [&] {
      backend().cross_entropy({losses, lse, {}, logits, targets, 2, 4, 0.0f});
      losses.values();
    };
    const auto backward = [&] {
      backend().cross_entropy_backward({dlogits, dlosses, logits, lse, targets, 2, 4, 0.0f});
      backend().synchronize();
    };
    EXPECT_THROW(forward(), Error);
    EXPECT_THROW(backward(), Error);
    EXPECT_NO_THROW(backend().synchronize());
  }
}

}  // namespace
}  // namespace star::test
