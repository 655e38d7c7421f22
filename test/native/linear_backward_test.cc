// The gradients of linear layers over odd sizes, with and without gelu and bias, against sums in double.
#include <cmath>
#include <string>

#include "core/error.h"
#include "support.h"

namespace star::test {
namespace {

double gelu_slope(double x) {
  const double scale = std::sqrt(2.0 / M_PI), t = std::tanh(scale * (x + 0.044715 * x * x * x));
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * scale * (1.0 + 3.0 * 0.044715 * x * x);
}

struct Case {
  int64_t rows, n, k;
  int64_t offset = 0;  // elements that every tensor lies behind the start of its memory
};

// 24 and 32 are sizes whose epilogues libraries fuse, odd ones are not.
const std::vector<Case> kCases{{1, 1, 1},   {7, 5, 3},    {10, 24, 32}, {10, 32, 24},   {33, 8, 65},
                               {64, 65, 8}, {2, 16, 300}, {500, 16, 8}, {9, 16, 32, 1}, {9, 16, 32, 4}};

// A tensor behind `offset` elements of its memory.
struct Moved {
  DeviceTensor memory;
  int64_t offset;
  Ref ref() const {
    return {static_cast<char*>(memory.ref().data) + static_cast<size_t>(offset) * dtype_size(memory.dtype), memory.dtype};
  }
  std::vector<float> values() const {
    const auto all = memory.values();
    return {all.begin() + offset, all.end()};
  }
};
Moved moved(const std::vector<float>& values, int64_t offset, DType dtype) {
  std::vector<float> all(static_cast<size_t>(offset));
  all.insert(all.end(), values.begin(), values.end());
  return {upload(all, dtype), offset};
}
Moved moved(int64_t count, int64_t offset, DType dtype) {
  return moved(std::vector<float>(static_cast<size_t>(count), 77.0f), offset, dtype);
}

template <class Check>
void each_case(Check&& check) {
  for (const Case& c : kCases)
    for (DType dtype : kFloats) {
      SCOPED_TRACE(std::to_string(c.rows) + " " + std::to_string(c.n) + " " + std::to_string(c.k) + " + " +
                   std::to_string(c.offset) + " " + dtype_name(dtype));
      check(c, dtype);
    }
}

TEST(LinearBackward, Input) {
  each_case([](const Case& c, DType dtype) {
    const auto dy = rounded(random_values(c.rows * c.n, 1), dtype), w = rounded(random_values(c.n * c.k, 2), dtype),
               sum = rounded(random_values(c.rows * c.k, 3, -4.0f, 4.0f), dtype);
    const Moved ddy = moved(dy, c.offset, dtype), dw = moved(w, c.offset, dtype), dsum = moved(sum, c.offset, dtype);
    for (bool gelu : {false, true}) {
      const Moved dx = moved(c.rows * c.k, c.offset, dtype);
      backend().linear_backward_input({dx.ref(), ddy.ref(), dw.ref(), gelu ? dsum.ref() : Ref{}, c.rows, c.n, c.k});
      std::vector<double> expected;
      for (int64_t r = 0; r < c.rows; ++r)
        for (int64_t j = 0; j < c.k; ++j) {
          double total = 0;
          for (int64_t i = 0; i < c.n; ++i)
            total += double{dy[static_cast<size_t>(r * c.n + i)]} * w[static_cast<size_t>(i * c.k + j)];
          expected.push_back(gelu ? total * gelu_slope(sum[static_cast<size_t>(r * c.k + j)]) : total);
        }
      expect_close("linear_backward_input", dx.values(), expected, dtype);
    }
  });
}

TEST(LinearBackward, Weight) {
  each_case([](const Case& c, DType dtype) {
    const auto dy = rounded(random_values(c.rows * c.n, 1), dtype), x = rounded(random_values(c.rows * c.k, 2), dtype);
    const Moved ddy = moved(dy, c.offset, dtype), dx = moved(x, c.offset, dtype);
    std::vector<double> weight(static_cast<size_t>(c.n * c.k)), bias(static_cast<size_t>(c.n));
    for (int64_t r = 0; r < c.rows; ++r)
      for (int64_t i = 0; i < c.n; ++i) {
        const double from = dy[static_cast<size_t>(r * c.n + i)];
        bias[static_cast<size_t>(i)] += from;
        for (int64_t j = 0; j < c.k; ++j) weight[static_cast<size_t>(i * c.k + j)] += from * x[static_cast<size_t>(r * c.k + j)];
      }
    for (bool with_bias : {false, true}) {
      const Moved dw = moved(c.n * c.k, c.offset, dtype), dbias = moved(c.n, c.offset, dtype);
      backend().linear_backward_weight({dw.ref(), with_bias ? dbias.ref() : Ref{}, ddy.ref(), dx.ref(), c.rows, c.n, c.k});
      expect_close("linear_backward_weight", dw.values(), weight, dtype);
      if (with_bias) expect_close("linear_backward_weight.dbias", dbias.values(), bias, dtype);
    }
  });
}

// gelu'(2) = 1.0861: (2048 + 1)·1.0861 is 2225.4 and becomes 2226; were the product rounded to f16 before, 2048·1.0861 = 2224.3
// would become 2224.
TEST(LinearBackward, GeluMeetsTheUnroundedSum) {
  for (int64_t k : {8, 9}) {  // fused, and not
    const DeviceTensor dy = upload(std::vector<float>{2048, 1}, DType::F16);
    const DeviceTensor w = upload(std::vector<float>(static_cast<size_t>(2 * k), 1.0f), DType::F16);
    const DeviceTensor sum = upload(std::vector<float>(static_cast<size_t>(k), 2.0f), DType::F16), dx = empty(k, DType::F16);
    backend().linear_backward_input({dx, dy, w, sum, 1, 2, k});
    EXPECT_EQ(dx.values(), std::vector<float>(static_cast<size_t>(k), 2226.0f)) << "k = " << k;
  }
}

TEST(LinearBackward, EmptySumsAreZero) {
  const DeviceTensor nothing = empty(0), w = upload(random_values(15, 1));
  const DeviceTensor dx = upload(random_values(6, 1)), dw = upload(random_values(15, 2)), dbias = upload(random_values(5, 3));
  backend().linear_backward_input({dx, nothing, nothing, {}, 2, 0, 3});
  EXPECT_EQ(dx.values(), std::vector<float>(6, 0.0f));
  backend().linear_backward_input({nothing, nothing, w, {}, 0, 5, 3});
  backend().linear_backward_weight({dw, dbias, nothing, nothing, 0, 5, 3});
  EXPECT_EQ(dw.values(), std::vector<float>(15, 0.0f));
  EXPECT_EQ(dbias.values(), std::vector<float>(5, 0.0f));
  const DeviceTensor ones = upload(std::vector<float>(10, 1.0f));
  backend().linear_backward_weight({nothing, dbias, ones, nothing, 2, 5, 0});
  EXPECT_EQ(dbias.values(), std::vector<float>(5, 2.0f));
}

TEST(LinearBackward, TheSameBitsEveryTime) {
  const int64_t rows = 700, n = 32, k = 24;
  for (DType dtype : kFloats) {
    const DeviceTensor dy = upload(random_values(rows * n, 1), dtype), x = upload(random_values(rows * k, 2), dtype),
                       w = upload(random_values(n * k, 3), dtype);
    const DeviceTensor dx = empty(rows * k, dtype), dw = empty(n * k, dtype), dbias = empty(n, dtype);
    std::vector<std::vector<uint8_t>> first;
    for (int i = 0; i < 4; ++i) {
      backend().linear_backward_input({dx, dy, w, x, rows, n, k});
      backend().linear_backward_weight({dw, dbias, dy, x, rows, n, k});
      const std::vector<std::vector<uint8_t>> now{dx.bytes(), dw.bytes(), dbias.bytes()};
      if (i == 0) first = now;
      EXPECT_EQ(now, first);
    }
  }
}

TEST(LinearBackward, RefusesMixedTypes) {
  const DeviceTensor a = empty(4), half = empty(4, DType::F16);
  EXPECT_THROW(backend().linear_backward_input({a, a, half, {}, 2, 2, 2}), Error);
  EXPECT_THROW(backend().linear_backward_input({a, a, a, half, 2, 2, 2}), Error);
  EXPECT_THROW(backend().linear_backward_weight({a, half, a, a, 2, 2, 2}), Error);
}

}  // namespace
}  // namespace star::test
