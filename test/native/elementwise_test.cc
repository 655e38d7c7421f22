// Elementwise ops, fills and casts.
#include <cmath>
#include <functional>

#include "support.h"

namespace star::test {
namespace {

class Elementwise : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(AllFloats, Elementwise, ::testing::ValuesIn(kFloats),
                         [](const auto& info) { return dtype_name(info.param); });

double apply(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::Add: return a + b;
    case BinaryOp::Sub: return a - b;
    case BinaryOp::Mul: return a * b;
    case BinaryOp::Div: return a / b;
  }
  return NAN;
}

TEST_P(Elementwise, BinarySpreadsB) {
  const DType dtype = GetParam();
  const int64_t shapes[][3] = {{1, 1, 1},   {1, 1000, 1}, {1, 1027, 1}, {7, 16, 1}, {5, 13, 1},
                               {3, 256, 1}, {1, 4, 64},   {1, 3, 35},   {2, 5, 24}, {1, 0, 1}};
  for (const auto& [outer, mid, inner] : shapes) {
    for (BinaryOp op : {BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div}) {
      SCOPED_TRACE(::testing::Message() << outer << " x " << mid << " x " << inner << ", op " << static_cast<int>(op));
      const int64_t count = outer * mid * inner;
      const auto a = rounded(random_values(count, 1), dtype), b = rounded(random_values(mid, 2, 0.5f, 2.0f), dtype);
      const auto da = upload(a, dtype), db = upload(b, dtype), y = empty(count, dtype);
      backend().binary({y, da, db, op, outer, mid, inner});
      std::vector<double> expected(a.size());
      for (int64_t i = 0; i < count; ++i)
        expected[static_cast<size_t>(i)] = apply(op, a[static_cast<size_t>(i)], b[static_cast<size_t>(i / inner % mid)]);
      expect_close("binary", y.values(), expected, dtype);
    }
  }
}

TEST_P(Elementwise, AffineWithAndWithoutB) {
  const DType dtype = GetParam();
  for (int64_t count : {1, 7, 64, 1000, 4099}) {
    const auto a = rounded(random_values(count, 3), dtype), b = rounded(random_values(count, 4), dtype);
    const auto da = upload(a, dtype), db = upload(b, dtype), y = empty(count, dtype);
    for (bool with_b : {true, false}) {
      backend().affine({y, da, with_b ? CRef(db) : CRef{}, 1.5f, -0.25f, 0.125f, count});
      std::vector<double> expected(a.size());
      for (size_t i = 0; i < a.size(); ++i) expected[i] = 1.5 * a[i] + (with_b ? -0.25 * b[i] : 0.0) + 0.125;
      expect_close("affine", y.values(), expected, dtype);
    }
  }
}

// A tensor that begins in the middle of another lies at an address that allows no wide loads.
TEST_P(Elementwise, AddressesThatAreNotMultiplesOf16) {
  const DType dtype = GetParam();
  const auto a = rounded(random_values(130, 5), dtype);
  const auto da = upload(a, dtype), y = empty(130, dtype);
  const size_t element = dtype_size(dtype);
  backend().fill({y, 0.0, 130});
  backend().affine({{static_cast<char*>(y.ref().data) + element, dtype},
                    {static_cast<char*>(da.ref().data) + 3 * element, dtype},
                    {},
                    2.0f,
                    0.0f,
                    0.0f,
                    100});
  std::vector<double> expected(130, 0.0);
  for (size_t i = 0; i < 100; ++i) expected[i + 1] = 2.0 * a[i + 3];
  expect_close("affine", y.values(), expected, dtype);
}

struct Function {
  UnaryOp op;
  std::function<double(double)> value, slope;
  float low, high, p0 = 0, p1 = 0;
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double phi(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }
double gelu_inner(double x) { return std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x); }

const std::vector<Function>& functions() {
  static const std::vector<Function> list{
      {UnaryOp::Silu, [](double x) { return x * sigmoid(x); }, [](double x) { return sigmoid(x) * (1 + x * (1 - sigmoid(x))); },
       -20, 20},
      {UnaryOp::Gelu, [](double x) { return 0.5 * x * (1 + std::tanh(gelu_inner(x))); },
       [](double x) {
         const double t = std::tanh(gelu_inner(x));
         return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
       },
       -6, 6},
      {UnaryOp::GeluErf, [](double x) { return x * phi(x); },
       [](double x) { return phi(x) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI); }, -6, 6},
      {UnaryOp::Relu, [](double x) { return x > 0 ? x : 0; }, [](double x) { return x > 0 ? 1.0 : 0.0; }, -3, 3},
      {UnaryOp::LeakyRelu, [](double x) { return x > 0 ? x : 0.25 * x; }, [](double x) { return x > 0 ? 1.0 : 0.25; }, -3, 3,
       0.25f},
      {UnaryOp::Tanh, [](double x) { return std::tanh(x); }, [](double x) { return 1 - std::tanh(x) * std::tanh(x); }, -4, 4},
      {UnaryOp::Sigmoid, sigmoid, [](double x) { return sigmoid(x) * (1 - sigmoid(x)); }, -15, 15},
      {UnaryOp::Exp, [](double x) { return std::exp(x); }, [](double x) { return std::exp(x); }, -10, 5},
      {UnaryOp::Log, [](double x) { return std::log(x); }, [](double x) { return 1 / x; }, 0.01f, 100},
      {UnaryOp::Abs, [](double x) { return std::fabs(x); }, [](double x) { return x > 0 ? 1.0 : -1.0; }, -3, 3},
      {UnaryOp::Square, [](double x) { return x * x; }, [](double x) { return 2 * x; }, -3, 3},
      {UnaryOp::Sqrt, [](double x) { return std::sqrt(x); }, [](double x) { return 0.5 / std::sqrt(x); }, 0.01f, 100},
      {UnaryOp::Reciprocal, [](double x) { return 1 / x; }, [](double x) { return -1 / (x * x); }, 0.5f, 4},
      {UnaryOp::Clamp, [](double x) { return std::min(1.0, std::max(-0.5, x)); },
       [](double x) { return x >= -0.5 && x <= 1.0 ? 1.0 : 0.0; }, -3, 3, -0.5f, 1.0f}};
  return list;
}

TEST_P(Elementwise, UnaryValuesAndSlopes) {
  const DType dtype = GetParam();
  for (const Function& f : functions()) {
    for (int64_t count : {1, 9, 1000}) {
      SCOPED_TRACE(::testing::Message() << "function " << static_cast<int>(f.op) << ", " << count << " values");
      const auto x = rounded(random_values(count, 6, f.low, f.high), dtype), dy = rounded(random_values(count, 7), dtype);
      const auto dx = upload(x, dtype), ddy = upload(dy, dtype), y = empty(count, dtype);
      std::vector<double> value(x.size()), slope(x.size());
      for (size_t i = 0; i < x.size(); ++i) {
        value[i] = f.value(x[i]);
        slope[i] = dy[i] * f.slope(x[i]);
      }
      backend().unary({y, dx, f.op, f.p0, f.p1, count});
      expect_close("unary", y.values(), value, dtype);
      backend().unary_backward({y, ddy, dx, f.op, f.p0, f.p1, count});
      expect_close("unary_backward", y.values(), slope, dtype);
    }
  }
}

TEST(Cast, EveryPairOfTypes) {
  const std::vector<float> values{0.0f,   1.0f,   -1.0f, 2.75f,    -2.75f,    100.5f, 255.0f,
                                  256.0f, 300.0f, 0.1f,  70000.0f, -70000.0f, 1e-8f};
  for (size_t repeat : {size_t{1}, size_t{40}}) {
    std::vector<float> source;
    for (size_t i = 0; i < repeat; ++i) source.insert(source.end(), values.begin(), values.end());
    const int64_t count = static_cast<int64_t>(source.size());
    for (DType from : kFloats) {
      const auto x = upload(source, from);
      const auto given = rounded(source, from);
      for (DType to : kFloats) {
        const auto y = empty(count, to);
        backend().cast({y, x, count});
        EXPECT_EQ(y.values(), rounded(given, to)) << dtype_name(from) << " to " << dtype_name(to);
      }
      const auto integers = empty(count, DType::I32), bytes = empty(count, DType::U8);
      backend().cast({integers, x, count});
      backend().cast({bytes, x, count});
      const auto i32 = integers.integers();
      const auto u8 = bytes.bytes();
      for (size_t i = 0; i < source.size(); ++i) {
        const double whole = std::trunc(std::min(2147483647.0, std::max(-2147483648.0, static_cast<double>(given[i]))));
        EXPECT_EQ(i32[i], static_cast<int32_t>(whole)) << given[i];
        EXPECT_EQ(u8[i], static_cast<uint8_t>(std::min(255.0, std::max(0.0, whole)))) << given[i];
      }
      const auto back = empty(count, from);
      backend().cast({back, bytes, count});
      for (size_t i = 0; i < source.size(); ++i) EXPECT_EQ(back.values()[i], static_cast<float>(u8[i]));
    }
  }
}

TEST(Cast, NotANumberAndInfinity) {
  const auto x = upload(std::vector<float>{NAN, INFINITY, -INFINITY, 1e10f});
  const auto integers = empty(4, DType::I32), half = empty(4, DType::F16);
  backend().cast({integers, x, 4});
  backend().cast({half, x, 4});
  EXPECT_EQ(integers.integers(), (std::vector<int32_t>{0, INT32_MAX, INT32_MIN, INT32_MAX}));
  EXPECT_TRUE(std::isnan(half.values()[0]));
  EXPECT_EQ(half.values()[1], INFINITY);
  EXPECT_EQ(half.values()[2], -INFINITY);
  EXPECT_EQ(half.values()[3], INFINITY);
}

TEST(Fill, EveryType) {
  for (int64_t count : {1, 100, 1000}) {
    const size_t n = static_cast<size_t>(count);
    for (DType dtype : kFloats) {
      const auto y = empty(count, dtype);
      backend().fill({y, -1.3, count});
      EXPECT_EQ(y.values(), rounded(std::vector<float>(n, -1.3f), dtype));
    }
    const auto integers = empty(count, DType::I32), bytes = empty(count, DType::U8);
    backend().fill({integers, 16777217.0, count});
    backend().fill({bytes, 7.9, count});
    EXPECT_EQ(integers.integers(), std::vector<int32_t>(n, 16777217));
    EXPECT_EQ(bytes.bytes(), std::vector<uint8_t>(n, 7));
  }
}

}  // namespace
}  // namespace star::test
