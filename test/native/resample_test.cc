// Resampling and its gradients, against dense matrices of each axis.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "support.h"

namespace star::test {
namespace {

struct Sizes {
  int64_t n, h, w, c, oh, ow;
};

double keys(double x) {  // Keys' cubic convolution, a = −3/4
  x = std::fabs(x);
  if (x < 1.0) return 1.25 * x * x * x - 2.25 * x * x + 1.0;
  if (x < 2.0) return -0.75 * (x * x * x - 5.0 * x * x + 8.0 * x - 4.0);
  return 0.0;
}

// m[o·in + i]: the weight of input i in output o.
std::vector<double> axis_matrix(Resample kind, int64_t in, int64_t out) {
  std::vector<double> m(static_cast<size_t>(in * out));
  for (int64_t o = 0; o < out; ++o) {
    const auto at = [&](int64_t i) -> double& { return m[static_cast<size_t>(o * in + std::clamp<int64_t>(i, 0, in - 1))]; };
    switch (kind) {
      case Resample::Nearest2x: at(o / 2) = 1.0; break;
      case Resample::Area: {
        const int64_t begin = o * in / out,
                      end = static_cast<int64_t>(std::ceil(static_cast<double>((o + 1) * in) / static_cast<double>(out)));
        for (int64_t i = begin; i < end; ++i) at(i) = 1.0 / static_cast<double>(end - begin);
        break;
      }
      case Resample::Bicubic: {
        const double center = (static_cast<double>(o) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5;
        for (int64_t i = static_cast<int64_t>(std::floor(center)) - 1; i < static_cast<int64_t>(std::floor(center)) + 3; ++i)
          at(i) += keys(center - static_cast<double>(i));
        break;
      }
    }
  }
  return m;
}

// y (n, oh, ow, c) of x, or with `transposed` dx (n, h, w, c) of x = dy.
std::vector<double> reference(Resample kind, const Sizes& s, const std::vector<float>& x, bool transposed) {
  const auto rows = axis_matrix(kind, s.h, s.oh), columns = axis_matrix(kind, s.w, s.ow);
  const auto in_index = [&](int64_t n, int64_t i, int64_t j, int64_t c) {
    return static_cast<size_t>(((n * s.h + i) * s.w + j) * s.c + c);
  };
  const auto out_index = [&](int64_t n, int64_t i, int64_t j, int64_t c) {
    return static_cast<size_t>(((n * s.oh + i) * s.ow + j) * s.c + c);
  };
  std::vector<double> y(static_cast<size_t>(s.n * s.c * (transposed ? s.h * s.w : s.oh * s.ow)));
  for (int64_t oi = 0; oi < s.oh; ++oi)
    for (int64_t oj = 0; oj < s.ow; ++oj)
      for (int64_t i = 0; i < s.h; ++i)
        for (int64_t j = 0; j < s.w; ++j) {
          const double weight = rows[static_cast<size_t>(oi * s.h + i)] * columns[static_cast<size_t>(oj * s.w + j)];
          if (weight == 0.0) continue;
          for (int64_t n = 0; n < s.n; ++n)
            for (int64_t c = 0; c < s.c; ++c) {
              if (transposed)
                y[in_index(n, i, j, c)] += weight * x[out_index(n, oi, oj, c)];
              else
                y[out_index(n, oi, oj, c)] += weight * x[in_index(n, i, j, c)];
            }
        }
  return y;
}

class ResampleTest : public ::testing::TestWithParam<DType> {
 protected:
  void check(Resample kind, const Sizes& s) {
    const DType dtype = GetParam();
    SCOPED_TRACE(::testing::Message() << "kind " << static_cast<int>(kind) << ", " << s.n << " images " << s.h << " x " << s.w
                                      << " x " << s.c << " to " << s.oh << " x " << s.ow);
    const auto x = rounded(random_values(s.n * s.h * s.w * s.c, 1), dtype),
               dy = rounded(random_values(s.n * s.oh * s.ow * s.c, 2), dtype);
    const auto x_device = upload(x, dtype), dy_device = upload(dy, dtype);
    const auto y = empty(dy_device.count, dtype), dx = empty(x_device.count, dtype);
    backend().resample({y, x_device, kind, s.n, s.h, s.w, s.c, s.oh, s.ow});
    expect_close("resample", y.values(), reference(kind, s, x, false), dtype);
    backend().resample_backward({dx, dy_device, kind, s.n, s.h, s.w, s.c, s.oh, s.ow});
    expect_close("resample_backward", dx.values(), reference(kind, s, dy, true), dtype);
  }
};
INSTANTIATE_TEST_SUITE_P(AllFloats, ResampleTest, ::testing::ValuesIn(kFloats),
                         [](const auto& info) { return dtype_name(info.param); });

TEST_P(ResampleTest, Nearest2x) {
  for (const Sizes& s : {Sizes{1, 1, 1, 1, 2, 2}, Sizes{2, 3, 5, 7, 6, 10}, Sizes{2, 4, 4, 32, 8, 8}, Sizes{0, 2, 2, 8, 4, 4}})
    check(Resample::Nearest2x, s);
}

TEST_P(ResampleTest, ScalesOfTheTokenizer) {
  for (int64_t side : {1, 2, 3, 4, 5, 6, 8, 10, 13, 16}) {
    check(Resample::Area, {2, 16, 16, 32, side, side});
    check(Resample::Bicubic, {2, side, side, 32, 16, 16});
  }
}

TEST_P(ResampleTest, OddSizes) {
  for (const Sizes& s : {Sizes{1, 1, 1, 1, 1, 1}, Sizes{1, 5, 7, 3, 9, 4}, Sizes{3, 7, 2, 8, 3, 11}, Sizes{1, 31, 3, 1, 64, 3},
                         Sizes{2, 2, 40, 5, 1, 7}})
    for (Resample kind : {Resample::Area, Resample::Bicubic}) check(kind, s);
}

// A copy: signs of zeros and infinities come through.
TEST_P(ResampleTest, NearestCopiesBits) {
  const auto x = upload({-0.0f, INFINITY, -1.5f, 0.0f}, GetParam());
  const auto y = empty(16, GetParam());
  backend().resample({y, x, Resample::Nearest2x, 1, 2, 2, 1, 4, 4});
  const auto values = y.values();
  for (size_t i : {0u, 1u, 4u, 5u}) EXPECT_TRUE(values[i] == 0.0f && std::signbit(values[i]));
  EXPECT_EQ(values[2], INFINITY);
  EXPECT_EQ(values[15], 0.0f);
}

// An infinite gradient reaches only the inputs that its output used.
TEST_P(ResampleTest, GradientsOfOutputsThatUseNothingOfAnInputStayAway) {
  std::vector<float> dy(16, 1.0f);
  dy[15] = INFINITY;
  const auto dy_device = upload(dy, GetParam()), dx = empty(16, GetParam());
  backend().resample_backward({dx, dy_device, Resample::Bicubic, 1, 1, 16, 1, 1, 16});
  const auto values = dx.values();
  for (size_t i = 0; i < 13; ++i) EXPECT_EQ(values[i], 1.0f) << i;
}

TEST(ResampleErrors, SidesThatAreTooLong) {
  if (on_cpu()) GTEST_SKIP() << "the CPU backend takes sides of any length";
  EXPECT_THROW(backend().resample({{}, {}, Resample::Area, 1, 1, 40000, 1, 1, 1}), Error);
}

}  // namespace
}  // namespace star::test
