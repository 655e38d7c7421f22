// Drawing tokens after top-k and top-p, and the soft Gumbel mix.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "support.h"

namespace star::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Filter {
  int64_t top_k;
  float top_p;
};

// Probabilities of one row by a full sort, in double. `margin` becomes how near a cumulative sum came to the limit of top-p, as a
// part of the whole: nearer than rounding, the kept tokens would be a matter of luck.
std::vector<double> filtered(const float* z, int64_t vocab, const Filter& f, double* margin) {
  std::vector<double> e(static_cast<size_t>(vocab));
  const double top = *std::max_element(z, z + vocab);
  double threshold = -std::numeric_limits<double>::infinity();
  if (f.top_k > 0 && f.top_k < vocab) {
    std::vector<float> sorted(z, z + vocab);
    std::nth_element(sorted.begin(), sorted.begin() + (f.top_k - 1), sorted.end(), std::greater<float>());
    threshold = sorted[static_cast<size_t>(f.top_k - 1)];
  }
  for (int64_t v = 0; v < vocab; ++v) e[static_cast<size_t>(v)] = z[v] >= threshold ? std::exp(z[v] - top) : 0.0;
  if (f.top_p > 0.0f) {
    std::vector<size_t> order(e.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [z](size_t a, size_t b) { return z[a] < z[b]; });
    const double sum = std::accumulate(e.begin(), e.end(), 0.0), limit = (1.0 - static_cast<double>(f.top_p)) * sum;
    double cumulated = 0.0;
    for (size_t i = 0; i + 1 < order.size(); ++i) {
      double& mass = e[order[i]];
      if (mass == 0.0) continue;
      cumulated += mass;
      *margin = std::min(*margin, std::fabs(cumulated - limit) / sum);
      if (cumulated <= limit) mass = 0.0;
    }
  }
  const double sum = std::accumulate(e.begin(), e.end(), 0.0);
  for (double& x : e) x /= sum;
  return e;
}

// The drawn token is where the cumulative sum of p passes u·Σ p.
void expect_drawn(const float* p, int64_t vocab, float u, int32_t id) {
  ASSERT_GE(id, 0);
  ASSERT_LT(id, vocab);
  double total = 0.0;
  for (int64_t v = 0; v < vocab; ++v) total += p[v];
  double below = 0.0;
  for (int32_t v = 0; v < id; ++v) below += p[v];
  EXPECT_LE(below, u * total);
  EXPECT_LT(u * total, below + p[id]);
}

struct Drawn {
  std::vector<int32_t> ids;
  std::vector<float> probability, probabilities;
};

Drawn draw(const DeviceTensor& logits, const std::vector<float>& uniform, const Filter& f) {
  const auto rows = static_cast<int64_t>(uniform.size()), vocab = logits.count / std::max<int64_t>(rows, 1);
  const auto u = upload(uniform);
  const auto ids = empty(rows, DType::I32), probability = empty(rows), probabilities = empty(logits.count);
  backend().draw({ids, probability, probabilities, logits, u, rows, vocab, f.top_k, f.top_p});
  return {ids.integers(), probability.values(), probabilities.values()};
}

std::vector<float> kept_of(const std::vector<float>& p) {
  std::vector<float> kept(p.size());
  std::transform(p.begin(), p.end(), kept.begin(), [](float x) { return x > 0.0f ? 1.0f : 0.0f; });
  return kept;
}

class Draw : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(AllFloats, Draw, ::testing::ValuesIn(kFloats), [](const auto& info) { return dtype_name(info.param); });

TEST_P(Draw, FiltersAndDraws) {
  const DType dtype = GetParam();
  const int64_t rows = 2;
  for (int64_t vocab : {1, 2, 33, 1000, 4096, 16384, 16391}) {
    const std::vector<Filter> filters{{0, 0.0f}, {1, 0.0f},          {vocab / 5, 0.0f}, {vocab, 0.9f},
                                      {0, 0.6f}, {vocab / 3, 0.95f}, {vocab / 2, 1.0f}, {2 * vocab, 1e-30f}};
    const auto z = rounded(random_values(rows * vocab, 17 + static_cast<uint64_t>(vocab), -6.0f, 6.0f), dtype);
    const auto logits = upload(z, dtype);
    const auto uniform = random_values(rows, 3 + static_cast<uint64_t>(vocab), 0.0f, 1.0f);
    for (const Filter& f : filters) {
      SCOPED_TRACE(::testing::Message() << "vocab " << vocab << ", top-k " << f.top_k << ", top-p " << f.top_p);
      const Drawn drawn = draw(logits, uniform, f);
      std::vector<double> expected;
      double margin = 1.0;
      for (int64_t r = 0; r < rows; ++r) {
        const auto row = filtered(z.data() + r * vocab, vocab, f, &margin);
        expected.insert(expected.end(), row.begin(), row.end());
        const float* p = drawn.probabilities.data() + r * vocab;
        const int32_t id = drawn.ids[static_cast<size_t>(r)];
        expect_drawn(p, vocab, uniform[static_cast<size_t>(r)], id);
        EXPECT_EQ(drawn.probability[static_cast<size_t>(r)], p[id]);
      }
      if (f.top_p > 1e-6f && f.top_p < 1.0f) {
        ASSERT_GT(margin, 2e-7) << "choose other logits";
      }
      expect_close("draw", drawn.probabilities, expected, DType::F32);
      for (size_t i = 0; i < expected.size(); ++i)
        ASSERT_EQ(drawn.probabilities[i] > 0.0f, expected[i] > 0.0) << "token " << i << ", p " << expected[i];
    }
  }
}

// Every logit that equals the k-th largest stays; −0 and +0 are equal.
TEST_P(Draw, TiesAtTheKthLargest) {
  const auto logits = upload({1, 3, 2, 2, 0, 2, 3, 0}, GetParam());
  EXPECT_EQ(kept_of(draw(logits, {0.5f}, {3, 0.0f}).probabilities), (std::vector<float>{0, 1, 1, 1, 0, 1, 1, 0}));
  EXPECT_EQ(kept_of(draw(logits, {0.5f}, {7, 0.0f}).probabilities), (std::vector<float>{1, 1, 1, 1, 1, 1, 1, 1}));
  const auto zeros = upload({-0.0f, 1.0f, 0.0f, -1.0f, -0.0f}, GetParam());
  EXPECT_EQ(kept_of(draw(zeros, {0.5f}, {2, 0.0f}).probabilities), (std::vector<float>{1, 1, 1, 0, 1}));
}

// Of equal logits at the border of top-p the first ones go; a cumulative sum that equals the limit goes too.
TEST_P(Draw, TiesAtTheBorderOfTopP) {
  for (int64_t vocab : {1, 2, 33, 1000, 4096, 16384, 20000}) {
    for (float top_p : {1e-30f, 0.25f, 0.5f, 0.75f}) {
      SCOPED_TRACE(::testing::Message() << "vocab " << vocab << ", top-p " << top_p);
      const auto logits = upload(std::vector<float>(static_cast<size_t>(vocab), -2.5f), GetParam());
      const auto removed =
          std::min(vocab - 1, static_cast<int64_t>(std::floor((1.0 - static_cast<double>(top_p)) * static_cast<double>(vocab))));
      const Drawn drawn = draw(logits, {0.0f}, {0, top_p});
      std::vector<float> expected(static_cast<size_t>(vocab), 1.0f);
      std::fill_n(expected.begin(), removed, 0.0f);
      EXPECT_EQ(kept_of(drawn.probabilities), expected);
      EXPECT_EQ(drawn.ids[0], removed);
    }
  }
  // 2 of 6 tokens are far below and always go; the four zeros are 1/4 each, and the last two stay.
  const auto logits = upload({0, -500, 0, 0, -500, 0}, GetParam());
  EXPECT_EQ(kept_of(draw(logits, {0.5f}, {0, 0.5f}).probabilities), (std::vector<float>{0, 0, 0, 1, 0, 1}));
}

TEST_P(Draw, EndsOfTheRangeAndTokensWithoutProbability) {
  const auto logits = upload({0, 5, 5, 0}, GetParam());
  const Filter f{2, 0.0f};
  EXPECT_EQ(draw(logits, {0.0f}, f).ids[0], 1);
  EXPECT_EQ(draw(logits, {0.4999f}, f).ids[0], 1);
  EXPECT_EQ(draw(logits, {0.5f}, f).ids[0], 2);
  EXPECT_EQ(draw(logits, {1.0f - 0x1p-24f}, f).ids[0], 2);
}

TEST_P(Draw, ExcludedByMinusInfinity) {
  const auto logits = upload({-kInfinity, 0.0f, -kInfinity, 0.0f}, GetParam());
  for (const Filter& f : {Filter{0, 0.0f}, Filter{3, 0.9f}, Filter{0, 1.0f}})
    EXPECT_EQ(draw(logits, {0.75f}, f).probabilities, (std::vector<float>{0, 0.5f, 0, 0.5f}));
  EXPECT_EQ(draw(logits, {0.75f}, {3, 0.9f}).ids[0], 3);
}

TEST_P(Draw, OutputsThatAreNotAsked) {
  const auto logits = upload(random_values(3 * 50, 1, -4.0f, 4.0f), GetParam());
  const std::vector<float> uniform{0.1f, 0.5f, 0.9f};
  const auto u = upload(uniform);
  const Filter f{20, 0.9f};
  const Drawn all = draw(logits, uniform, f);
  const auto ids = empty(3, DType::I32), p = empty(150);
  backend().draw({ids, {}, {}, logits, u, 3, 50, f.top_k, f.top_p});
  EXPECT_EQ(ids.integers(), all.ids);
  backend().draw({{}, {}, p, logits, {}, 3, 50, f.top_k, f.top_p});
  EXPECT_EQ(p.values(), all.probabilities);
  EXPECT_TRUE(draw(empty(0, GetParam()), {}, f).ids.empty());
}

void expect_argument_error(const char* text) {
  try {
    backend().synchronize();
    ADD_FAILURE() << "no error, expected one that says '" << text << "'";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Argument);
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
  backend().synchronize();  // said once
}

TEST_P(Draw, WrongNumbersAreReported) {
  if (on_cpu()) GTEST_SKIP() << "the CPU backend reports in the call itself";
  const auto ids = empty(2, DType::I32), p = empty(6);
  const auto u = upload(std::vector<float>{0.5f, 0.5f}), one = upload(std::vector<float>{0.5f, 1.0f});
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
    const auto logits = upload({1, 2, 3, 0, bad, 1}, GetParam());
    backend().draw({ids, {}, p, logits, u, 2, 3, 1, 0.5f});
    expect_argument_error("largest logit of a row");
    EXPECT_EQ(ids.integers()[1], 0);
    EXPECT_EQ(p.values()[4], 0.0f);
  }
  const auto nothing = upload(std::vector<float>(6, -kInfinity), GetParam());
  backend().draw({ids, {}, {}, nothing, u, 2, 3, 0, 0.0f});
  expect_argument_error("largest logit of a row");
  const auto logits = upload({1, 2, 3, 0, 1, 2}, GetParam());
  backend().draw({ids, {}, {}, logits, one, 2, 3, 0, 0.0f});
  expect_argument_error("below 1");
}

TEST_P(Draw, GumbelMix) {
  const DType dtype = GetParam();
  const int64_t shapes[][3] = {{1, 1, 1}, {3, 33, 5}, {33, 300, 32}, {2, 513, 33}, {4, 4096, 64}, {1, 16400, 8}};
  for (const auto& [rows, vocab, cols] : shapes) {
    for (const Filter& f : {Filter{0, 0.0f}, Filter{vocab / 3, 0.0f}, Filter{vocab / 2, 0.8f}}) {
      SCOPED_TRACE(::testing::Message() << rows << " x " << vocab << " x " << cols << ", top-k " << f.top_k);
      const float factor = 1.4f, temperature = 0.3f;
      const auto z = rounded(random_values(rows * vocab, 11, -4.0f, 4.0f), dtype), noise = random_values(rows * vocab, 12, -2, 2);
      const auto codebook = rounded(random_values(vocab * cols, 13), dtype);
      const auto dz = upload(z, dtype), dnoise = upload(noise), dcodebook = upload(codebook, dtype),
                 y = empty(rows * cols, dtype);
      backend().gumbel_mix({y, dz, dnoise, dcodebook, rows, vocab, cols, f.top_k, f.top_p, factor, temperature});
      std::vector<double> expected(static_cast<size_t>(rows * cols));
      for (int64_t r = 0; r < rows; ++r) {
        double margin = 1.0, top = -1e300, total = 0.0;
        std::vector<double> w = filtered(z.data() + r * vocab, vocab, f, &margin);
        if (f.top_p > 0.0f) {
          ASSERT_GT(margin, 2e-7) << "choose other logits";
        }
        for (size_t v = 0; v < w.size(); ++v) {
          const size_t i = static_cast<size_t>(r * vocab) + v;
          w[v] = w[v] > 0.0 ? (static_cast<double>(z[i]) * factor + noise[i]) / temperature : -1e300;
          top = std::max(top, w[v]);
        }
        for (double& x : w) total += x = std::exp(x - top);
        for (int64_t v = 0; v < vocab; ++v)
          for (int64_t c = 0; c < cols; ++c)
            expected[static_cast<size_t>(r * cols + c)] +=
                w[static_cast<size_t>(v)] / total * codebook[static_cast<size_t>(v * cols + c)];
      }
      expect_close("gumbel_mix", y.values(), expected, dtype);
    }
  }
}

TEST_P(Draw, GumbelMixOfNumbersThatAreNone) {
  if (on_cpu()) GTEST_SKIP() << "the CPU backend reports in the call itself";
  const auto noise = upload(std::vector<float>(6, 0.25f)), codebook = upload({1, 2, 3, 4, 5, 6}, GetParam());
  const auto y = empty(4, GetParam());
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity})
    for (int64_t top_k : {0, 2}) {
      const auto logits = upload({0, 0, 0, 1, bad, 0}, GetParam());
      backend().gumbel_mix({y, logits, noise, codebook, 2, 3, 2, top_k, 0.0f, 1.0f, 1.0f});
      expect_argument_error("largest logit of a row");
    }
  const auto logits = upload({-kInfinity, 0, -kInfinity, -kInfinity, -kInfinity, 0}, GetParam());
  backend().gumbel_mix({y, logits, noise, codebook, 2, 3, 2, 0, 0.0f, 1.0f, 1.0f});
  EXPECT_EQ(y.values(), (std::vector<float>{3, 4, 5, 6}));
}

}  // namespace
}  // namespace star::test
