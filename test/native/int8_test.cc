// Matrices in 8 bits: whole numbers are exact, the linear layer's result is rounded as its type.
#include <array>
#include <cmath>

#include "core/error.h"
#include "support.h"

namespace star::test {
namespace {

struct Rows {
  std::vector<int8_t> q;
  std::vector<float> scale;
};

Rows quantized(const std::vector<float>& x, int64_t rows, int64_t cols) {
  Rows result;
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = [&](int64_t c) { return x[static_cast<size_t>(r * cols + c)]; };
    float largest = 0.0f;
    for (int64_t c = 0; c < cols; ++c) largest = std::fmax(largest, std::fabs(row(c)));
    result.scale.push_back(largest / 127.0f);
    const float factor = 127.0f / largest;
    for (int64_t c = 0; c < cols; ++c) result.q.push_back(static_cast<int8_t>(std::nearbyint(row(c) * factor)));
  }
  return result;
}

DeviceTensor upload_bytes(const std::vector<int8_t>& values) {
  DeviceTensor tensor(static_cast<int64_t>(values.size()), DType::I8);
  if (!values.empty()) backend().copy_from_host(tensor.ref().data, values.data(), values.size());
  return tensor;
}

double gelu(double x) { return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x))); }

TEST(Int8, RowsThereAndBack) {
  for (DType dtype : kFloats) {
    for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 7}, {5, 256}, {2, 1000}, {300, 33}}) {
      const auto x = rounded(random_values(rows * cols, 1, -3.0f, 3.0f), dtype);
      const auto d_x = upload(x, dtype), q = empty(rows * cols, DType::I8), scale = empty(rows), back = empty(rows * cols, dtype);
      backend().quantize_rows({q, scale, d_x, rows, cols});
      backend().dequantize_rows({back, q, scale, rows, cols});
      const Rows expected = quantized(x, rows, cols);
      std::vector<float> wide;
      for (size_t i = 0; i < expected.q.size(); ++i)
        wide.push_back(static_cast<float>(expected.q[i]) * expected.scale[i / static_cast<size_t>(cols)]);
      SCOPED_TRACE(::testing::Message() << dtype_name(dtype) << ", " << rows << " x " << cols);
      const auto bytes = q.bytes();
      EXPECT_EQ(std::vector<int8_t>(bytes.begin(), bytes.end()), expected.q);
      EXPECT_EQ(scale.values(), expected.scale);
      EXPECT_EQ(back.values(), rounded(wide, dtype));
    }
  }
}

TEST(Int8, RowsWithoutAScale) {
  const auto x = upload(std::vector<float>{0, 0, 1e-31f, 0, 1, NAN, INFINITY, 2});
  const auto q = empty(8, DType::I8), scale = empty(4);
  backend().quantize_rows({q, scale, x, 4, 2});
  EXPECT_EQ(q.bytes(), std::vector<uint8_t>(8, 0));
  const auto scales = scale.values();
  EXPECT_EQ(scales[0], 0.0f);
  EXPECT_EQ(scales[1], 0.0f);
  EXPECT_TRUE(std::isnan(scales[2]) && std::isnan(scales[3]));
}

TEST(Int8, LinearLayer) {
  for (DType dtype : kFloats) {
    // With sizes that the products of bytes take, and with others.
    for (const auto& [rows, n, k] : std::vector<std::array<int64_t, 3>>{
             {1, 4, 4}, {3, 8, 16}, {33, 64, 128}, {2, 5, 7}, {9, 12, 33}, {4, 7, 64}, {3, 16, 1500}, {0, 4, 4}, {2, 4, 0}}) {
      for (const bool biased : {false, true}) {
        for (const auto activation : {Activation::None, Activation::Gelu}) {
          const auto x = rounded(random_values(rows * k, 1), dtype), bias = rounded(random_values(n, 3), dtype);
          const auto w = random_values(n * k, 2);
          const Rows qx = quantized(x, rows, k);
          Rows qw = quantized(w, n, k);
          if (k == 0) qw.scale.assign(static_cast<size_t>(n), 0.0f);
          const auto d_x = upload(x, dtype), d_scale = upload(qw.scale), d_bias = upload(bias, dtype), y = empty(rows * n, dtype);
          const auto d_w = upload_bytes(qw.q);
          LinearInt8Args args{y, d_x, d_w, d_scale, biased ? CRef(d_bias) : CRef{}, rows, n, k, activation};
          backend().linear_int8(args);
          std::vector<double> expected;
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < n; ++c) {
              int64_t sum = 0;
              for (int64_t i = 0; i < k; ++i)
                sum += int64_t{qx.q[static_cast<size_t>(r * k + i)]} * qw.q[static_cast<size_t>(c * k + i)];
              double value =
                  k == 0 ? 0.0 : static_cast<double>(sum) * qx.scale[static_cast<size_t>(r)] * qw.scale[static_cast<size_t>(c)];
              if (biased) value += bias[static_cast<size_t>(c)];
              expected.push_back(activation == Activation::Gelu ? gelu(value) : value);
            }
          SCOPED_TRACE(::testing::Message() << dtype_name(dtype) << ", " << rows << " x " << k << " x " << n << ", bias "
                                            << biased << ", gelu " << (activation == Activation::Gelu));
          expect_close("matmul", y.values(), expected, dtype);
        }
      }
    }
  }
}

TEST(Int8, TypesThatAreNone) {
  const auto whole = upload(std::vector<int32_t>{1, 2, 3, 4});
  const auto q = empty(4, DType::I8), scale = empty(1);
  EXPECT_THROW(backend().quantize_rows({q, scale, whole, 1, 4}), Error);
  EXPECT_THROW(backend().dequantize_rows({whole, q, scale, 1, 4}), Error);
}

}  // namespace
}  // namespace star::test
