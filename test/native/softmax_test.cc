// Softmax over rows and its gradient.
#include <cmath>

#include "support.h"

namespace star::test {
namespace {

class Softmax : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(AllFloats, Softmax, ::testing::ValuesIn(kFloats),
                         [](const auto& info) { return dtype_name(info.param); });

const int64_t kShapes[][2] = {{1, 1},    {5, 3},    {9, 64},   {3, 256},  {2, 257},  {3, 300},  {2, 512}, {1, 1000}, {2, 1024},
                              {1, 1031}, {2, 4096}, {1, 4099}, {1, 8192}, {1, 8193}, {2, 9000}, {0, 7},   {3, 0}};

std::vector<double> reference(const std::vector<float>& x, int64_t rows, int64_t cols, double scale) {
  std::vector<double> y(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    double top = -INFINITY, total = 0;
    for (int64_t k = r * cols; k < (r + 1) * cols; ++k) top = std::max(top, scale * x[static_cast<size_t>(k)]);
    for (int64_t k = r * cols; k < (r + 1) * cols; ++k)
      total += y[static_cast<size_t>(k)] = std::exp(scale * x[static_cast<size_t>(k)] - top);
    for (int64_t k = r * cols; k < (r + 1) * cols; ++k) y[static_cast<size_t>(k)] /= total;
  }
  return y;
}

TEST_P(Softmax, Rows) {
  const DType dtype = GetParam();
  for (const auto& [rows, cols] : kShapes) {
    for (float scale : {1.0f, -0.5f}) {
      SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", scale " << scale);
      const auto x = rounded(random_values(rows * cols, 1, -6.0f, 6.0f), dtype);
      const auto device_x = upload(x, dtype), y = empty(rows * cols, dtype);
      backend().softmax({y, device_x, rows, cols, scale});
      expect_close("softmax", y.values(), reference(x, rows, cols, scale), dtype);
    }
  }
}

TEST_P(Softmax, Gradients) {
  const DType dtype = GetParam();
  for (const auto& [rows, cols] : kShapes) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << cols);
    const auto x = random_values(rows * cols, 2, -2.0f, 2.0f);
    const auto exact = reference(x, rows, cols, 1.0);
    const auto y = rounded({exact.begin(), exact.end()}, dtype), dy = rounded(random_values(rows * cols, 3), dtype);
    const auto device_y = upload(y, dtype), device_dy = upload(dy, dtype), dx = empty(rows * cols, dtype);
    backend().softmax_backward({dx, device_dy, device_y, rows, cols, 0.25f});
    std::vector<double> expected(y.size());
    for (int64_t r = 0; r < rows; ++r) {
      double dot = 0;
      for (int64_t k = r * cols; k < (r + 1) * cols; ++k)
        dot += static_cast<double>(y[static_cast<size_t>(k)]) * dy[static_cast<size_t>(k)];
      for (int64_t k = r * cols; k < (r + 1) * cols; ++k)
        expected[static_cast<size_t>(k)] = 0.25 * y[static_cast<size_t>(k)] * (dy[static_cast<size_t>(k)] - dot);
    }
    expect_close("softmax_backward", dx.values(), expected, dtype);
  }
}

TEST_P(Softmax, ExtremeValues) {
  const DType dtype = GetParam();
  const float inf = INFINITY;
  const std::vector<float> x{60000, 59000, -60000, 0,     // one far above the others
                             -inf,  1,     1,      -inf,  // masked
                             -inf,  -inf,  -inf,   5,     // one left
                             -inf,  -inf,  -inf,   -inf,  // none left
                             NAN,   0,     1,      2,     //
                             0,     0,     0,      -0.0f};
  const auto device_x = upload(x, dtype), y = empty(24, dtype);
  backend().softmax({y, device_x, 6, 4, 1.0f});
  const auto given = y.values();
  const auto row = [&](size_t r) { return std::vector<float>(given.begin() + 4 * r, given.begin() + 4 * r + 4); };
  EXPECT_EQ(row(0), (std::vector<float>{1, 0, 0, 0}));
  EXPECT_EQ(row(1), (std::vector<float>{0, 0.5, 0.5, 0}));
  EXPECT_EQ(row(2), (std::vector<float>{0, 0, 0, 1}));
  for (size_t i = 12; i < 20; ++i) EXPECT_TRUE(std::isnan(given[i])) << i;
  EXPECT_EQ(row(5), (std::vector<float>{0.25, 0.25, 0.25, 0.25}));
}

}  // namespace
}  // namespace star::test
