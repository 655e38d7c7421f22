// Reductions to the middle dimension.
#include <cmath>

#include "support.h"

namespace star::test {
namespace {

class Reduce : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(AllFloats, Reduce, ::testing::ValuesIn(kFloats),
                         [](const auto& info) { return dtype_name(info.param); });

const ReduceOp kOps[] = {ReduceOp::Sum, ReduceOp::SumSquares, ReduceOp::SumAbs, ReduceOp::Max};

double value_of(ReduceOp op, double x) {
  switch (op) {
    case ReduceOp::SumSquares: return x * x;
    case ReduceOp::SumAbs: return std::fabs(x);
    default: return x;
  }
}

std::vector<double> reference(const std::vector<float>& x, ReduceOp op, double scale, int64_t outer, int64_t mid, int64_t inner) {
  std::vector<double> y(static_cast<size_t>(mid), op == ReduceOp::Max ? -INFINITY : 0.0);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t m = 0; m < mid; ++m)
      for (int64_t i = 0; i < inner; ++i) {
        const double value = value_of(op, x[static_cast<size_t>((o * mid + m) * inner + i)]);
        double& total = y[static_cast<size_t>(m)];
        total = op == ReduceOp::Max ? std::max(total, value) : total + value;
      }
  for (double& total : y) total *= scale;
  return y;
}

TEST_P(Reduce, EveryOpOverEveryKindOfShape) {
  const DType dtype = GetParam();
  const int64_t shapes[][3] = {
      {1, 1, 1},     {1, 1, 7},     {1, 1, 1024}, {1, 1, 1025}, {1, 1, 40001},                // to one number
      {3, 1, 5},     {7, 3, 1},     {33, 64, 1},  {1000, 3, 1}, {700, 40, 1},  {5000, 8, 1},  // columns
      {1, 9, 4},     {1, 300, 16},  {2, 5, 24},   {4, 3, 700},  {5, 2, 4001},                 // blocks of columns
      {40, 1500, 1}, {1, 2, 20000}, {6000, 1, 3}, {2, 3, 8192},                               // several passes or tiles
  };
  for (const auto& [outer, mid, inner] : shapes) {
    const auto x = rounded(random_values(outer * mid * inner, 1, -0.5f, 1.0f), dtype);
    const auto device_x = upload(x, dtype), y = empty(mid, dtype);
    for (ReduceOp op : kOps) {
      SCOPED_TRACE(::testing::Message() << outer << " x " << mid << " x " << inner << ", op " << static_cast<int>(op));
      backend().reduce({y, device_x, op, 0.125f, outer, mid, inner});
      expect_close("reduce", y.values(), reference(x, op, 0.125, outer, mid, inner), dtype);
    }
  }
}

TEST_P(Reduce, Nothing) {
  const auto x = empty(0, GetParam()), y = empty(3, GetParam());
  backend().reduce({y, x, ReduceOp::Sum, 2.0f, 0, 3, 1});
  EXPECT_EQ(y.values(), (std::vector<float>{0, 0, 0}));
  backend().reduce({y, x, ReduceOp::Max, 2.0f, 4, 3, 0});
  EXPECT_EQ(y.values(), (std::vector<float>{-INFINITY, -INFINITY, -INFINITY}));
  const auto none = empty(0, GetParam());
  backend().reduce({none, x, ReduceOp::Sum, 1.0f, 4, 0, 1});
}

// By rows and by columns, in one pass and in several.
TEST_P(Reduce, MaximumKeepsNanAndInfinity) {
  const int64_t shapes[][3] = {{1, 1, 100}, {1, 1, 40000}, {40, 2, 1}, {5000, 2, 1}};
  for (const auto& [outer, mid, inner] : shapes) {
    for (float special : {NAN, INFINITY}) {
      auto x = random_values(outer * mid * inner, 2);
      x[x.size() / 3 / static_cast<size_t>(mid) * static_cast<size_t>(mid)] = special;
      const auto device_x = upload(x, GetParam()), y = empty(mid, GetParam());
      backend().reduce({y, device_x, ReduceOp::Max, 1.0f, outer, mid, inner});
      const auto given = y.values();
      EXPECT_TRUE(std::isnan(special) ? std::isnan(given[0]) : given[0] == special) << given[0];
      for (size_t m = 1; m < given.size(); ++m) EXPECT_TRUE(std::isfinite(given[m]));
    }
  }
}

TEST_P(Reduce, AddressesThatAreNotMultiplesOf16) {
  const DType dtype = GetParam();
  const auto x = rounded(random_values(257, 3), dtype);
  const auto device_x = upload(x, dtype);
  const CRef inside{static_cast<char*>(device_x.ref().data) + dtype_size(dtype), dtype};
  for (int64_t mid : {1, 64}) {
    const auto y = empty(mid, dtype);
    backend().reduce({y, inside, ReduceOp::Sum, 1.0f, 256 / mid, mid, 1});
    expect_close("reduce", y.values(), reference({x.begin() + 1, x.end()}, ReduceOp::Sum, 1.0, 256 / mid, mid, 1), dtype);
  }
}

}  // namespace
}  // namespace star::test
