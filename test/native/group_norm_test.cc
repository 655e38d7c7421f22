// Group normalisation of NHWC images with and without SiLU, and the gradients.
#include <cmath>

#include "support.h"

namespace star::test {
namespace {

class GroupNorm : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(AllFloats, GroupNorm, ::testing::ValuesIn(kFloats),
                         [](const auto& info) { return dtype_name(info.param); });

struct Case {
  int64_t n, hw, c, groups;
};

// One pixel; groups that vectors straddle; odd widths; one group; a group a channel; many ranges of pixels; many tiles of
// channels.
const Case kCases[] = {{1, 1, 1, 1},    {2, 1, 8, 2},      {3, 9, 6, 3},    {2, 35, 40, 8},  {1, 64, 160, 32}, {2, 100, 33, 11},
                       {1, 4096, 8, 2}, {1, 700, 320, 32}, {1, 10, 512, 1}, {2, 17, 24, 24}, {1, 5, 1031, 1},  {0, 4, 8, 2}};

struct Reference {
  std::vector<double> y, mean, rstd, dx, dweight, dbias;
};

Reference reference(const Case& s, const std::vector<float>& x, const std::vector<float>& weight, const std::vector<float>& bias,
                    const std::vector<float>& dy, bool silu) {
  Reference r;
  r.y.resize(x.size());
  r.dx.resize(x.size());
  r.dweight.assign(static_cast<size_t>(s.c), 0.0);
  r.dbias = r.dweight;
  const int64_t width = s.c / s.groups;
  const double count = static_cast<double>(s.hw * width);
  for (int64_t item = 0; item < s.n * s.groups; ++item) {
    const auto each = [&](auto f) {
      for (int64_t p = 0; p < s.hw; ++p)
        for (int64_t k = item % s.groups * width; k < (item % s.groups + 1) * width; ++k)
          f(static_cast<size_t>((item / s.groups * s.hw + p) * s.c + k), static_cast<size_t>(k));
    };
    double mean = 0, variance = 0, along = 0, across = 0;
    each([&](size_t i, size_t) { mean += x[i] / count; });
    each([&](size_t i, size_t) { variance += (x[i] - mean) * (x[i] - mean) / count; });
    const double rstd = 1.0 / std::sqrt(variance + 1e-6);
    r.mean.push_back(mean);
    r.rstd.push_back(rstd);
    const auto gradient = [&](size_t i, size_t k) {
      const double z = (x[i] - mean) * rstd * weight[k] + bias[k], sigmoid = 1.0 / (1.0 + std::exp(-z));
      return dy[i] * (silu ? sigmoid * (1.0 + z * (1.0 - sigmoid)) : 1.0);
    };
    each([&](size_t i, size_t k) {
      const double n = (x[i] - mean) * rstd, z = n * weight[k] + bias[k];
      r.y[i] = silu ? z / (1.0 + std::exp(-z)) : z;
      if (dy.empty()) return;
      const double dz = gradient(i, k);
      r.dbias[k] += dz;
      r.dweight[k] += dz * n;
      along += dz * weight[k] / count;
      across += dz * weight[k] * n / count;
    });
    if (dy.empty()) continue;
    each([&](size_t i, size_t k) { r.dx[i] = rstd * (gradient(i, k) * weight[k] - along - (x[i] - mean) * rstd * across); });
  }
  return r;
}

TEST_P(GroupNorm, WithAndWithoutSilu) {
  const DType dtype = GetParam();
  for (const Case& s : kCases) {
    for (bool silu : {false, true}) {
      SCOPED_TRACE(::testing::Message() << s.n << " x " << s.hw << " x " << s.c << ", " << s.groups << " groups, silu " << silu);
      const int64_t count = s.n * s.hw * s.c, groups = s.n * s.groups;
      const auto x = rounded(random_values(count, 1, -2.0f, 3.0f), dtype);
      const auto weight = rounded(random_values(s.c, 2, 0.5f, 1.5f), dtype), bias = rounded(random_values(s.c, 3), dtype);
      const auto device_x = upload(x, dtype), device_weight = upload(weight, dtype), device_bias = upload(bias, dtype);
      const auto y = empty(count, dtype), mean = empty(groups), rstd = empty(groups);
      backend().group_norm({y, mean, rstd, device_x, device_weight, device_bias, s.n, s.hw, s.c, s.groups, 1e-6f, silu});
      const Reference r = reference(s, x, weight, bias, {}, silu);
      expect_close("group_norm.mean", mean.values(), r.mean, DType::F32);
      expect_close("group_norm.rstd", rstd.values(), r.rstd, DType::F32);
      expect_close("group_norm", y.values(), r.y, dtype);
    }
  }
}

TEST_P(GroupNorm, Gradients) {
  const DType dtype = GetParam();
  for (const Case& s : kCases) {
    for (bool silu : {false, true}) {
      SCOPED_TRACE(::testing::Message() << s.n << " x " << s.hw << " x " << s.c << ", " << s.groups << " groups, silu " << silu);
      const int64_t count = s.n * s.hw * s.c;
      const auto x = rounded(random_values(count, 4, -2.0f, 3.0f), dtype), dy = rounded(random_values(count, 5), dtype);
      const auto weight = rounded(random_values(s.c, 6, 0.5f, 1.5f), dtype), bias = rounded(random_values(s.c, 7), dtype);
      const Reference r = reference(s, x, weight, bias, dy, silu);
      const auto device_x = upload(x, dtype), device_dy = upload(dy, dtype);
      const auto device_weight = upload(weight, dtype), device_bias = upload(bias, dtype);
      const auto mean = upload(std::vector<float>(r.mean.begin(), r.mean.end()));
      const auto rstd = upload(std::vector<float>(r.rstd.begin(), r.rstd.end()));
      const auto dx = empty(count, dtype), dweight = empty(s.c, dtype), dbias = empty(s.c, dtype);
      backend().group_norm_backward(
          {dx, dweight, dbias, device_dy, device_x, mean, rstd, device_weight, device_bias, s.n, s.hw, s.c, s.groups, silu});
      const bool few = s.hw * s.c / s.groups < 8;
      expect_close(few ? "group_norm_backward.dx, few values" : "group_norm_backward.dx", dx.values(), r.dx, dtype);
      expect_close("group_norm_backward.dweight", dweight.values(), r.dweight, dtype);
      expect_close("group_norm_backward.dbias", dbias.values(), r.dbias, dtype);

      const auto only_dx = empty(count, dtype), only_dweight = empty(s.c, dtype);
      backend().group_norm_backward(
          {only_dx, {}, {}, device_dy, device_x, mean, rstd, device_weight, device_bias, s.n, s.hw, s.c, s.groups, silu});
      backend().group_norm_backward(
          {{}, only_dweight, {}, device_dy, device_x, mean, rstd, device_weight, device_bias, s.n, s.hw, s.c, s.groups, silu});
      EXPECT_EQ(only_dx.bytes(), dx.bytes());
      EXPECT_EQ(only_dweight.bytes(), dweight.bytes());
    }
  }
}

TEST(GroupNormValues, FarFromZero) {
  const Case s{2, 50, 16, 4};
  const auto x = random_values(s.n * s.hw * s.c, 8, 9999.0f, 10001.0f);
  const std::vector<float> weight(16, 1.0f), bias(16, 0.0f);
  const auto device_x = upload(x), device_weight = upload(weight), device_bias = upload(bias);
  const auto y = empty(s.n * s.hw * s.c), mean = empty(8), rstd = empty(8);
  backend().group_norm({y, mean, rstd, device_x, device_weight, device_bias, s.n, s.hw, s.c, s.groups, 1e-6f, false});
  const Reference r = reference(s, x, weight, bias, {}, false);
  expect_close("group_norm.rstd", rstd.values(), r.rstd, DType::F32);
  expect_close("normalised, far from zero", y.values(), r.y, DType::F32);
}

// A sample's result does not depend on what else is in its batch.
TEST(GroupNormValues, EachSampleAlone) {
  const auto x = random_values(3 * 700 * 32, 9), weight = random_values(32, 10), bias = random_values(32, 11);
  const auto device_weight = upload(weight), device_bias = upload(bias);
  const auto run = [&](const std::vector<float>& values, int64_t n) {
    const auto device_x = upload(values), y = empty(n * 700 * 32), mean = empty(n * 8), rstd = empty(n * 8);
    backend().group_norm({y, mean, rstd, device_x, device_weight, device_bias, n, 700, 32, 8, 1e-6f, true});
    return y.values();
  };
  const auto together = run(x, 3);
  const auto alone = run({x.begin() + 2 * 700 * 32, x.end()}, 1);
  EXPECT_EQ(std::vector<float>(together.begin() + 2 * 700 * 32, together.end()), alone);
}

}  // namespace
}  // namespace star::test
