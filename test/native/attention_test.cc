// Attention and its gradient against plain loops in double, for all element types, head dimensions and masks.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/error.h"
#include "support.h"

namespace star::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Case {
  int64_t batch = 1, heads = 1, head_dim = 64, lq = 1, lk = 1, kv_capacity = 0;  // capacity 0: as many as lk
  float scale = 0.5f;
  std::vector<int32_t> key_limit = {};  // empty: not given
  std::vector<uint8_t> key_mask = {};

  int64_t capacity() const { return kv_capacity ? kv_capacity : lk; }
  int64_t queries() const { return batch * lq * heads * head_dim; }
  int64_t keys() const { return batch * capacity() * heads * head_dim; }
  int64_t at(int64_t b, int64_t tokens, int64_t i, int64_t h) const { return ((b * tokens + i) * heads + h) * head_dim; }
  bool visible(int64_t b, int64_t i, int64_t j) const {
    return (key_limit.empty() || j < key_limit[i]) && (key_mask.empty() || key_mask[b * lk + j] != 0);
  }
};

// The end of each query's scale, as STAR's mask has it.
std::vector<int32_t> scale_limits(const std::vector<int32_t>& sides) {
  std::vector<int32_t> limits;
  for (const int32_t side : sides) {
    const auto end = static_cast<int32_t>(limits.size()) + side * side;
    limits.resize(static_cast<size_t>(end), end);
  }
  return limits;
}
// Limits of any order, below 0 and above lk too.
std::vector<int32_t> random_limits(int64_t lq, int64_t lk) { return random_integers(lq, 71, -3, static_cast<int32_t>(lk) + 20); }
// Two keys of three seen, but none by the first sample, and none of the first tile by the second where others are left.
std::vector<uint8_t> random_mask(int64_t batch, int64_t lk) {
  std::vector<uint8_t> mask;
  for (const int32_t x : random_integers(batch * lk, 72, 0, 3)) mask.push_back(x > 0 ? static_cast<uint8_t>(x) : 0);
  std::fill_n(mask.begin(), lk, 0);
  if (batch > 1) std::fill_n(mask.begin() + lk, std::min<int64_t>(lk / 2, 70), 0);
  return mask;
}

struct Inputs {
  std::vector<float> q, k, v, dout;
};
Inputs make_inputs(const Case& c, DType dtype) {
  Inputs in{rounded(random_values(c.queries(), 1), dtype), rounded(random_values(c.keys(), 2), dtype),
            rounded(random_values(c.keys(), 3), dtype), rounded(random_values(c.queries(), 4), dtype)};
  // What lies behind the keys in a cache may be anything.
  for (int64_t b = 0; b < c.batch; ++b) {
    const auto begin = static_cast<size_t>(c.at(b, c.capacity(), c.lk, 0)),
               end = static_cast<size_t>(c.at(b + 1, c.capacity(), 0, 0));
    std::fill(in.k.begin() + begin, in.k.begin() + end, NAN);
    std::fill(in.v.begin() + begin, in.v.begin() + end, NAN);
  }
  return in;
}

double dot(const float* x, const float* y, int64_t n) {
  double sum = 0;
  for (int64_t c = 0; c < n; ++c) sum += static_cast<double>(x[c]) * y[c];
  return sum;
}

struct Forward {
  std::vector<double> out, lse;
};
Forward reference(const Case& c, const Inputs& in) {
  Forward r{std::vector<double>(c.queries(), 0.0), std::vector<double>(c.batch * c.heads * c.lq, -kInfinity)};
  std::vector<double> scores(c.lk);
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t i = 0; i < c.lq; ++i) {
        const int64_t row = c.at(b, c.lq, i, h);
        double top = -kInfinity, sum = 0;
        for (int64_t j = 0; j < c.lk; ++j) {
          scores[j] = c.visible(b, i, j) ? c.scale * dot(&in.q[row], &in.k[c.at(b, c.capacity(), j, h)], c.head_dim) : -kInfinity;
          top = std::max(top, scores[j]);
        }
        if (top == -kInfinity) continue;
        for (double& score : scores) sum += score = std::exp(score - top);
        r.lse[(b * c.heads + h) * c.lq + i] = top + std::log(sum);
        for (int64_t j = 0; j < c.lk; ++j)
          for (int64_t d = 0; d < c.head_dim && scores[j] > 0; ++d)
            r.out[row + d] += scores[j] / sum * in.v[c.at(b, c.capacity(), j, h) + d];
      }
  return r;
}

struct Gradients {
  std::vector<double> dq, dk, dv;
};
// From out and lse as the kernel is given them.
Gradients reference_gradients(const Case& c, const Inputs& in, const std::vector<float>& out, const std::vector<float>& lse) {
  Gradients r{std::vector<double>(c.queries(), 0.0), std::vector<double>(c.keys(), 0.0), std::vector<double>(c.keys(), 0.0)};
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t i = 0; i < c.lq; ++i) {
        const int64_t row = c.at(b, c.lq, i, h);
        const double delta = dot(&in.dout[row], &out[row], c.head_dim);
        for (int64_t j = 0; j < c.lk; ++j) {
          if (!c.visible(b, i, j)) continue;
          const int64_t key = c.at(b, c.lk, j, h);
          const double p = std::exp(c.scale * dot(&in.q[row], &in.k[key], c.head_dim) - lse[(b * c.heads + h) * c.lq + i]);
          const double ds = c.scale * p * (dot(&in.dout[row], &in.v[key], c.head_dim) - delta);
          for (int64_t d = 0; d < c.head_dim; ++d) {
            r.dq[row + d] += ds * in.k[key + d];
            r.dk[key + d] += ds * in.q[row + d];
            r.dv[key + d] += p * in.dout[row + d];
          }
        }
      }
  return r;
}

std::vector<float> to_floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

// The masks of a case on the device, where given.
struct Masks {
  explicit Masks(const Case& c) {
    if (!c.key_mask.empty()) mask.emplace(upload(c.key_mask));
    if (!c.key_limit.empty()) limit.emplace(upload(c.key_limit));
  }
  CRef key_mask() const { return mask ? CRef(*mask) : CRef{}; }
  CRef key_limit() const { return limit ? CRef(*limit) : CRef{}; }
  std::optional<DeviceTensor> mask, limit;
};

std::string describe(const Case& c) {
  return "batch " + std::to_string(c.batch) + ", heads " + std::to_string(c.heads) + ", head_dim " + std::to_string(c.head_dim) +
         ", lq " + std::to_string(c.lq) + ", lk " + std::to_string(c.lk) + (c.key_limit.empty() ? "" : ", limits") +
         (c.key_mask.empty() ? "" : ", mask");
}

void check_forward(const Case& c, DType dtype) {
  SCOPED_TRACE(describe(c));
  const Inputs in = make_inputs(c, dtype);
  const Forward expected = reference(c, in);
  const DeviceTensor q = upload(in.q, dtype), k = upload(in.k, dtype), v = upload(in.v, dtype);
  const Masks masks(c);
  const DeviceTensor out = empty(c.queries(), dtype), lse = empty(c.batch * c.heads * c.lq);
  backend().attention(
      {out, lse, q, k, v, masks.key_mask(), masks.key_limit(), c.batch, c.heads, c.head_dim, c.lq, c.lk, c.capacity(), c.scale});
  expect_close("attention", out.values(), expected.out, dtype);
  expect_close("attention.lse", lse.values(), expected.lse, DType::F32);  // products of 16-bit elements are exact in f32
}

void check_backward(const Case& c, DType dtype) {
  SCOPED_TRACE(describe(c));
  const Inputs in = make_inputs(c, dtype);
  const Forward forward = reference(c, in);
  const std::vector<float> out = rounded(to_floats(forward.out), dtype), lse = to_floats(forward.lse);
  const Gradients expected = reference_gradients(c, in, out, lse);
  const DeviceTensor q = upload(in.q, dtype), k = upload(in.k, dtype), v = upload(in.v, dtype), dout = upload(in.dout, dtype);
  const DeviceTensor given_out = upload(out, dtype), given_lse = upload(lse);
  const Masks masks(c);
  const DeviceTensor dq = empty(c.queries(), dtype), dk = empty(c.keys(), dtype), dv = empty(c.keys(), dtype);
  const AttentionBackwardArgs args{
      dq,      dk,      dv,         dout, given_out, given_lse, q, k, v, masks.key_mask(), masks.key_limit(),
      c.batch, c.heads, c.head_dim, c.lq, c.lk,      c.scale};
  backend().attention_backward(args);
  {
    SCOPED_TRACE("dq");
    expect_close("attention_backward.dq", dq.values(), expected.dq, dtype);
  }
  {
    SCOPED_TRACE("dk");
    expect_close("attention_backward.dk", dk.values(), expected.dk, dtype);
  }
  {
    SCOPED_TRACE("dv");
    expect_close("attention_backward.dv", dv.values(), expected.dv, dtype);
  }
  const std::vector<uint8_t> bytes = dk.bytes();
  backend().attention_backward(args);
  EXPECT_EQ(dk.bytes(), bytes) << "a second run gives other bits";
}

// Lengths around those of tiles, each without masks and with both; one pair with each mask alone too.
std::vector<Case> grid() {
  std::vector<Case> cases;
  for (const auto& [lq, lk] : {std::pair{1, 1}, {5, 63}, {64, 64}, {65, 130}, {130, 65}, {1, 200}, {200, 20}}) {
    Case c{.batch = 2, .heads = lq == 5 ? 3 : 1, .lq = lq, .lk = lk};
    cases.push_back(c);
    c.key_limit = random_limits(lq, lk);
    if (lq == 65) cases.push_back(c);
    c.key_mask = random_mask(c.batch, lk);
    cases.push_back(c);
    c.key_limit.clear();
    if (lq == 65) cases.push_back(c);
  }
  return cases;
}

class AttentionTest : public ::testing::TestWithParam<DType> {};

TEST_P(AttentionTest, ForwardHoldsForAllLengthsAndMasks) {
  for (const Case& c : grid()) check_forward(c, GetParam());
}

TEST_P(AttentionTest, BackwardHoldsForAllLengthsAndMasks) {
  for (const Case& c : grid()) check_backward(c, GetParam());
}

TEST_P(AttentionTest, HoldsForOtherHeadDimensions) {
  for (const int64_t head_dim : {1, 5, 16, 32, 48, 80, 96, 128, 256}) {
    Case c{.batch = 2, .heads = 1, .head_dim = head_dim, .lq = 66, .lk = 37};
    c.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    c.key_limit = random_limits(c.lq, c.lk);
    c.key_mask = random_mask(c.batch, c.lk);
    check_forward(c, GetParam());
    check_backward(c, GetParam());
  }
}

TEST_P(AttentionTest, HoldsForTheScaleMask) {
  const std::vector<int32_t> limits = scale_limits({1, 2, 3, 4, 6, 8});
  const auto length = static_cast<int64_t>(limits.size());
  const Case c{.batch = 1, .heads = 2, .lq = length, .lk = length, .key_limit = limits};
  check_forward(c, GetParam());
  check_backward(c, GetParam());
}

TEST_P(AttentionTest, ReadsTheFirstKeysOfACache) {
  check_forward({.batch = 3, .heads = 2, .lq = 9, .lk = 14, .kv_capacity = 130}, GetParam());
  check_forward({.batch = 2, .heads = 2, .head_dim = 48, .lq = 9, .lk = 14, .kv_capacity = 50}, GetParam());
  check_forward({.batch = 2, .heads = 1, .lq = 16, .lk = 65, .kv_capacity = 80, .key_mask = random_mask(2, 65)}, GetParam());
}

TEST_P(AttentionTest, TakesScalesOfAnySign) {
  for (const float scale : {0.0f, -0.4f}) {
    const Case c{.batch = 1, .heads = 2, .lq = 20, .lk = 70, .scale = scale, .key_limit = random_limits(20, 70)};
    check_forward(c, GetParam());
    check_backward(c, GetParam());
  }
}

TEST_P(AttentionTest, HoldsForLargeScores) {
  Case c{.batch = 1, .heads = 1, .lq = 70, .lk = 130, .scale = 30.0f};
  const DType dtype = GetParam();
  const Inputs in = make_inputs(c, dtype);
  const Forward expected = reference(c, in);
  const DeviceTensor q = upload(in.q, dtype), k = upload(in.k, dtype), v = upload(in.v, dtype), out = empty(c.queries(), dtype);
  backend().attention({out, {}, q, k, v, {}, {}, c.batch, c.heads, c.head_dim, c.lq, c.lk, c.lk, c.scale});
  expect_close("attention, large scores", out.values(), expected.out, dtype);
}

TEST_P(AttentionTest, GivesZerosWithoutKeys) {
  const Case c{.batch = 2, .heads = 3, .lq = 5, .lk = 0, .kv_capacity = 4};
  check_forward(c, GetParam());
}

TEST_P(AttentionTest, TakesOperandsAtAnyAddress) {
  const Case c{.batch = 1, .heads = 2, .lq = 10, .lk = 12};
  const DType dtype = GetParam();
  const Inputs in = make_inputs(c, dtype);
  std::vector<float> shifted = in.k;
  shifted.insert(shifted.begin(), 7.0f);
  const DeviceTensor q = upload(in.q, dtype), k = upload(shifted, dtype), v = upload(in.v, dtype);
  const DeviceTensor out = empty(c.queries(), dtype);
  const CRef second{static_cast<const char*>(k.ref().data) + dtype_size(dtype), dtype};
  backend().attention({out, {}, q, second, v, {}, {}, c.batch, c.heads, c.head_dim, c.lq, c.lk, c.lk, c.scale});
  expect_close("attention", out.values(), reference(c, in).out, dtype);
}

TEST_P(AttentionTest, NaNInAQueryStaysInItsRow) {
  const Case c{.batch = 1, .heads = 1, .lq = 20, .lk = 70};
  const DType dtype = GetParam();
  Inputs in = make_inputs(c, dtype);
  Forward expected = reference(c, in);
  in.q[3 * c.head_dim + 5] = NAN;
  std::fill_n(expected.out.begin() + 3 * c.head_dim, c.head_dim, NAN);
  expected.lse[3] = NAN;
  const DeviceTensor q = upload(in.q, dtype), k = upload(in.k, dtype), v = upload(in.v, dtype);
  const DeviceTensor out = empty(c.queries(), dtype), lse = empty(c.lq);
  backend().attention({out, lse, q, k, v, {}, {}, c.batch, c.heads, c.head_dim, c.lq, c.lk, c.lk, c.scale});
  expect_close("attention", out.values(), expected.out, dtype);
  expect_close("attention.lse", lse.values(), expected.lse, DType::F32);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, AttentionTest, ::testing::ValuesIn(kFloats),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

// Enough heads for tiles of 128 queries, which only kernels for 16 bits have.
TEST(AttentionOfManyHeads, HoldsForTheScaleMask) {
  const std::vector<int32_t> limits = scale_limits({1, 2, 3, 4, 6, 8});
  Case c{.batch = 8, .heads = 16, .lq = static_cast<int64_t>(limits.size()), .lk = 70, .key_limit = limits};
  check_forward(c, DType::F16);
  c.key_mask = random_mask(c.batch, c.lk);
  check_backward(c, DType::BF16);
}

// Keys and queries of several tiles, where dq is added up in memory: in one sum (8 heads in all on simt), in two that have
// several tiles each (4), and in one a tile (1).
TEST(AttentionOfManyTiles, BackwardHoldsForLimitsAndMasks) {
  const std::vector<int32_t> limits = scale_limits({1, 2, 4, 6, 9, 13});
  const auto length = static_cast<int64_t>(limits.size());
  check_backward({.batch = 2, .heads = 4, .lq = length, .lk = length, .key_limit = limits}, DType::BF16);
  check_backward({.batch = 1, .heads = 1, .lq = length, .lk = length, .key_limit = limits}, DType::BF16);
  for (const int64_t heads : {2, 4}) {
    Case c{.batch = 2, .heads = heads, .lq = 140, .lk = length, .key_limit = random_limits(140, length)};
    c.key_mask = random_mask(c.batch, c.lk);
    check_backward(c, DType::F16);
  }
}

ErrorCode code_of(const AttentionArgs& args) {
  try {
    backend().attention(args);
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::Internal;
}

TEST(AttentionErrors, RefusesWhatItCannotTake) {
  const DeviceTensor x = empty(600), half = empty(600, DType::F16);
  if (!on_cpu()) EXPECT_EQ(code_of({x, {}, x, x, x, {}, {}, 1, 1, 257, 1, 1, 1, 1.0f}), ErrorCode::Argument);
  EXPECT_EQ(code_of({x, {}, x, half, x, {}, {}, 1, 1, 64, 1, 1, 1, 1.0f}), ErrorCode::DType);
  EXPECT_EQ(code_of({x, {}, x, x, x, x, {}, 1, 1, 64, 1, 1, 1, 1.0f}), ErrorCode::DType);
}

}  // namespace
}  // namespace star::test
