// l2 normalisation, scale and rotary embedding of heads, and their gradient, against plain loops in double.
#include <cmath>
#include <optional>

#include "core/error.h"
#include "support.h"

namespace star::test {
namespace {

struct Case {
  int64_t batch = 2, length = 3, parts = 3, part = 1, heads = 2, head_dim = 64;
  bool l2_norm = true, scaled = true, turned = true;
  int64_t out_capacity = 0, out_position = 0;  // capacity 0: as long as the sequence

  int64_t capacity() const { return out_capacity ? out_capacity : length; }
  int64_t packed() const { return batch * length * parts * heads * head_dim; }
  int64_t tokens() const { return batch * length; }
  int64_t at(int64_t token, int64_t h) const { return ((token * parts + part) * heads + h) * head_dim; }
};

struct Inputs {
  std::vector<float> x, log_scale, rope, dout;
};
Inputs make_inputs(const Case& c, DType dtype) {
  Inputs in{rounded(random_values(c.packed(), 1), dtype),
            random_values(c.heads, 2, 0.0f, 3.0f),
            {},
            rounded(random_values(c.tokens() * c.heads * c.head_dim, 4), dtype)};
  if (c.heads > 1) in.log_scale[1] = 6.0f;  // above ln 100: clamped
  for (const float angle : random_values(c.length * (c.head_dim / 2), 3, -3.0f, 3.0f)) {
    in.rope.push_back(std::cos(angle));
    in.rope.push_back(std::sin(angle));
  }
  // A row of zeros has no direction; one below the smallest norm is divided by that norm.
  for (int64_t d = 0; d < c.head_dim; ++d) in.x[c.at(0, 0) + d] = 0.0f;
  return in;
}

double factor_of(const Case& c, const Inputs& in, int64_t h) {
  return c.scaled ? std::exp(std::min<double>(in.log_scale[h], std::log(100.0))) : 1.0;
}

void turn(const Case& c, const Inputs& in, int64_t position, double direction, std::vector<double>& row) {
  for (int64_t d = 0; c.turned && d < c.head_dim; d += 2) {
    const double cosine = in.rope[position * c.head_dim + d], sine = direction * in.rope[position * c.head_dim + d + 1];
    const double even = row[d], odd = row[d + 1];
    row[d] = even * cosine - odd * sine;
    row[d + 1] = even * sine + odd * cosine;
  }
}

std::vector<double> row_at(const std::vector<float>& values, int64_t at, int64_t count) {
  return {values.begin() + at, values.begin() + at + count};
}
double product(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

std::optional<DeviceTensor> upload_if(bool given, const std::vector<float>& values) {
  return given ? std::optional<DeviceTensor>(upload(values)) : std::nullopt;
}
template <class Tensor>
auto ref_of(const std::optional<Tensor>& tensor) {
  return tensor ? tensor->ref() : Ref{};
}

std::string describe(const Case& c) {
  return "batch " + std::to_string(c.batch) + ", length " + std::to_string(c.length) + ", part " + std::to_string(c.part) +
         " of " + std::to_string(c.parts) + ", heads " + std::to_string(c.heads) + ", head_dim " + std::to_string(c.head_dim) +
         (c.l2_norm ? ", normalised" : "") + (c.scaled ? ", scaled" : "") + (c.turned ? ", turned" : "");
}

void check_forward(const Case& c, DType dtype) {
  SCOPED_TRACE(describe(c));
  const Inputs in = make_inputs(c, dtype);
  constexpr float kBefore = 7.0f;
  std::vector<float> before(c.batch * c.capacity() * c.heads * c.head_dim, kBefore);
  std::vector<double> expected(before.begin(), before.end());
  for (int64_t token = 0; token < c.tokens(); ++token)
    for (int64_t h = 0; h < c.heads; ++h) {
      std::vector<double> row = row_at(in.x, c.at(token, h), c.head_dim);
      const double factor = c.l2_norm ? factor_of(c, in, h) / std::max(1e-12, std::sqrt(product(row, row))) : 1.0;
      for (double& x : row) x *= factor;
      turn(c, in, token % c.length, 1.0, row);
      const int64_t to = c.out_position + token / c.length * c.capacity() + token % c.length;
      std::copy(row.begin(), row.end(), expected.begin() + (to * c.heads + h) * c.head_dim);
    }
  const DeviceTensor x = upload(in.x, dtype), out = upload(before, dtype);
  const auto log_scale = upload_if(c.scaled, in.log_scale), rope = upload_if(c.turned, in.rope);
  backend().heads({out, x, ref_of(log_scale), ref_of(rope), c.batch, c.length, c.parts, c.part, c.heads, c.head_dim, c.capacity(),
                   c.out_position, c.l2_norm});
  const std::vector<float> given = out.values();
  expect_close("heads", given, expected, dtype);
  for (size_t i = 0; i < given.size(); ++i) {
    if (expected[i] == kBefore) {
      ASSERT_EQ(given[i], kBefore) << "a token that is not the sequence's was changed";
    }
  }
}

void check_backward(const Case& c, DType dtype) {
  SCOPED_TRACE(describe(c));
  const Inputs in = make_inputs(c, dtype);
  std::vector<float> before = rounded(random_values(c.packed(), 9), dtype);
  std::vector<double> dx(before.begin(), before.end()), dlog_scale(c.heads, 0.0);
  for (int64_t token = 0; token < c.tokens(); ++token)
    for (int64_t h = 0; h < c.heads; ++h) {
      const std::vector<double> row = row_at(in.x, c.at(token, h), c.head_dim);
      std::vector<double> dh = row_at(in.dout, (token * c.heads + h) * c.head_dim, c.head_dim);
      turn(c, in, token % c.length, -1.0, dh);
      const double norm = std::sqrt(product(row, row)), factor = factor_of(c, in, h) / std::max(1e-12, norm);
      const double overlap = product(dh, row);
      for (int64_t d = 0; d < c.head_dim; ++d) {
        double& to = dx[c.at(token, h) + d];
        to = !c.l2_norm ? dh[d] : factor * (dh[d] - (norm > 1e-12 ? row[d] * overlap / (norm * norm) : 0.0));
      }
      if (in.log_scale[h] <= std::log(100.0)) dlog_scale[h] += factor * overlap;
    }
  const DeviceTensor x = upload(in.x, dtype), dout = upload(in.dout, dtype), given = upload(before, dtype);
  const auto log_scale = upload_if(c.scaled, in.log_scale), rope = upload_if(c.turned, in.rope);
  std::optional<DeviceTensor> given_scale;
  if (c.scaled) given_scale.emplace(empty(c.heads));
  backend().heads_backward({given, ref_of(given_scale), dout, x, ref_of(log_scale), ref_of(rope), c.batch, c.length, c.parts,
                            c.part, c.heads, c.head_dim, c.l2_norm});
  // The row of zeros would drown the others: its gradient is divided by the smallest norm.
  std::vector<float> values = given.values();
  if (c.l2_norm) {
    const auto begin = values.begin() + c.at(0, 0);
    const auto expected = dx.begin() + c.at(0, 0);
    if (dtype == DType::F16) {
      for (int64_t d = 0; d < c.head_dim; ++d)
        EXPECT_TRUE(std::isinf(begin[d]) || expected[d] == 0.0) << "beyond the range of f16";
    } else {
      expect_close("heads_backward", {begin, begin + c.head_dim}, {expected, expected + c.head_dim}, dtype);
    }
    std::fill_n(begin, c.head_dim, 0.0f);
    std::fill_n(expected, c.head_dim, 0.0);
  }
  expect_close("heads_backward", values, dx, dtype);
  if (!c.scaled) return;
  SCOPED_TRACE("dlog_scale");
  expect_close("heads_backward.dlog_scale", given_scale->values(), dlog_scale, DType::F32);
}

class HeadsTest : public ::testing::TestWithParam<DType> {};

TEST_P(HeadsTest, HoldsForAllDimensions) {
  for (const int64_t head_dim : {2, 6, 16, 32, 48, 64, 80, 96, 128, 256, 300})
    for (const int64_t heads : {1, 3}) {
      Case c{.length = 5, .heads = heads, .head_dim = head_dim};
      check_forward(c, GetParam());
      check_backward(c, GetParam());
    }
}

TEST_P(HeadsTest, EveryStepCanBeLeftOut) {
  for (const bool l2_norm : {true, false})
    for (const bool turned : {true, false}) {
      Case c{.length = 4, .l2_norm = l2_norm, .scaled = l2_norm, .turned = turned};
      check_forward(c, GetParam());
      check_backward(c, GetParam());
      c.scaled = false;
      check_forward(c, GetParam());
      check_backward(c, GetParam());
    }
  const Case odd{.head_dim = 7, .turned = false};
  check_forward(odd, GetParam());
  check_backward(odd, GetParam());
}

TEST_P(HeadsTest, EveryPartAndManyTokens) {
  for (const int64_t part : {0, 1, 2}) {
    check_forward({.batch = 1, .length = 1, .part = part, .heads = 1}, GetParam());
    check_backward({.batch = 1, .length = 2, .part = part, .heads = 1}, GetParam());
  }
  const Case many{.batch = 3, .length = 130, .parts = 2, .heads = 3, .head_dim = 32};  // chunks of 128 tokens
  check_forward(many, GetParam());
  check_backward(many, GetParam());
}

TEST_P(HeadsTest, WritesIntoACache) {
  check_forward({.batch = 3, .length = 4, .out_capacity = 11, .out_position = 5}, GetParam());
  check_forward({.batch = 2, .length = 4, .head_dim = 10, .out_capacity = 9, .out_position = 5}, GetParam());
}

TEST_P(HeadsTest, TakesRowsAtAnyAddress) {
  const DType dtype = GetParam();
  const int64_t dim = 16, tokens = 5;
  const std::vector<float> values = rounded(random_values(tokens * dim + 1, 5), dtype);
  const DeviceTensor x = upload(values, dtype), out = empty(tokens * dim, dtype);
  const CRef second{static_cast<const char*>(x.ref().data) + dtype_size(dtype), dtype};
  backend().heads({out, second, {}, {}, 1, tokens, 1, 0, 1, dim, tokens, 0, false});
  EXPECT_EQ(out.values(), std::vector<float>(values.begin() + 1, values.end()));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, HeadsTest, ::testing::ValuesIn(kFloats),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

}  // namespace
}  // namespace star::test
