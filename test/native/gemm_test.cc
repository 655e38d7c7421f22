// Matrix products: every transpose, batches, epilogues and accumulation over odd sizes, against sums in double.
#include <cmath>
#include <string>

#include "core/error.h"
#include "support.h"

namespace star::test {
namespace {

double gelu(double x) { return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x))); }

struct Case {
  int64_t batch = 1, m, n, k;
  bool trans_a = false, trans_b = false;
  bool shared_a = false, shared_b = false;  // one matrix for the whole batch
  bool bias = false, gelu = false, keep = false, accumulate = false;
  int64_t a_offset = 0, b_offset = 0, c_offset = 0, bias_offset = 0;  // elements from the start of their memory

  std::string name() const {
    std::string text = std::to_string(batch) + " x (" + std::to_string(m) + ", " + std::to_string(n) + ", " + std::to_string(k) +
                       ") " + (trans_a ? "T" : "N") + (trans_b ? "T" : "N");
    for (const auto& [given, word] : {std::pair{shared_a, "shared a"}, std::pair{shared_b, "shared b"}, std::pair{bias, "bias"},
                                      std::pair{gelu, "gelu"}, std::pair{keep, "keep"}, std::pair{accumulate, "accumulate"}})
      if (given) text += std::string(", ") + word;
    for (int64_t offset : {a_offset, b_offset, c_offset, bias_offset}) text += ", " + std::to_string(offset);
    return text;
  }
};

// The tensor's elements from `offset` on.
Ref behind(const DeviceTensor& tensor, int64_t offset) {
  return {static_cast<char*>(tensor.ref().data) + static_cast<size_t>(offset) * dtype_size(tensor.dtype), tensor.dtype};
}

std::vector<float> tail(const DeviceTensor& tensor, int64_t offset) {
  const auto all = tensor.values();
  return {all.begin() + offset, all.end()};
}

void check(const Case& t, DType dtype) {
  SCOPED_TRACE(t.name() + " " + dtype_name(dtype));
  const int64_t a_count = t.m * t.k * (t.shared_a ? 1 : t.batch), b_count = t.n * t.k * (t.shared_b ? 1 : t.batch);
  const int64_t count = t.batch * t.m * t.n;
  const auto values = [&](int64_t n, uint64_t seed) { return rounded(random_values(n, seed), dtype); };
  const auto a = values(a_count + t.a_offset, 1), b = values(b_count + t.b_offset, 2), bias = values(t.n + t.bias_offset, 3),
             c = values(count + t.c_offset, 4);
  const DeviceTensor da = upload(a, dtype), db = upload(b, dtype), dbias = upload(bias, dtype), dc = upload(c, dtype);
  const DeviceTensor dkept = empty(count, dtype);
  MatmulArgs args{};
  args.a = behind(da, t.a_offset);
  args.b = behind(db, t.b_offset);
  args.c = behind(dc, t.c_offset);
  if (t.bias) args.bias = behind(dbias, t.bias_offset);
  if (t.keep) args.pre_activation = dkept;
  args.batch = t.batch, args.m = t.m, args.n = t.n, args.k = t.k;
  args.a_stride = t.shared_a ? 0 : t.m * t.k;
  args.b_stride = t.shared_b ? 0 : t.n * t.k;
  args.trans_a = t.trans_a, args.trans_b = t.trans_b, args.accumulate = t.accumulate;
  args.activation = t.gelu ? Activation::Gelu : Activation::None;
  backend().matmul(args);

  std::vector<double> sums, results;
  for (int64_t i = 0; i < t.batch; ++i)
    for (int64_t row = 0; row < t.m; ++row)
      for (int64_t col = 0; col < t.n; ++col) {
        const int64_t c_at = t.c_offset + (i * t.m + row) * t.n + col;
        double sum = t.accumulate ? c[static_cast<size_t>(c_at)] : 0.0;
        for (int64_t p = 0; p < t.k; ++p) {
          const int64_t a_at = t.a_offset + i * args.a_stride + (t.trans_a ? p * t.m + row : row * t.k + p);
          const int64_t b_at = t.b_offset + i * args.b_stride + (t.trans_b ? col * t.k + p : p * t.n + col);
          sum += double{a[static_cast<size_t>(a_at)]} * b[static_cast<size_t>(b_at)];
        }
        if (t.bias) sum += bias[static_cast<size_t>(t.bias_offset + col)];
        sums.push_back(sum);
        results.push_back(t.gelu ? gelu(sum) : sum);
      }
  expect_close("matmul", tail(dc, t.c_offset), results, dtype);
  if (t.keep) expect_close("matmul", dkept.values(), sums, dtype);
}

void check(const Case& t) {
  for (DType dtype : kFloats) check(t, dtype);
}

TEST(Matmul, EveryTransposeOfOddSizes) {
  for (int64_t m : {1, 5, 64})
    for (int64_t n : {1, 8, 33})
      for (int64_t k : {1, 7, 130})
        for (bool trans_a : {false, true})
          for (bool trans_b : {false, true}) check({.m = m, .n = n, .k = k, .trans_a = trans_a, .trans_b = trans_b});
}

TEST(Matmul, Batches) {
  for (bool trans_a : {false, true})
    for (bool trans_b : {false, true})
      for (bool shared_a : {false, true})
        for (bool shared_b : {false, true})
          check({.batch = 3,
                 .m = 6,
                 .n = 9,
                 .k = 11,
                 .trans_a = trans_a,
                 .trans_b = trans_b,
                 .shared_a = shared_a,
                 .shared_b = shared_b,
                 .bias = shared_b});
}

TEST(Matmul, Epilogues) {  // n = 24 is one that libraries fuse, n = 13 is not
  for (int64_t batch : {1, 2})
    for (int64_t n : {1, 13, 24})
      for (bool bias : {false, true})
        for (bool gelu : {false, true})
          for (bool keep : {false, true})
            check({.batch = batch, .m = 10, .n = n, .k = 16, .trans_b = batch == 1, .bias = bias, .gelu = gelu, .keep = keep});
}

TEST(Matmul, MoreRowsThanABlockOfWidenedWeights) {
  for (bool keep : {false, true}) {
    check({.m = 3, .n = 2100, .k = 7, .trans_b = true, .bias = true, .gelu = true, .keep = keep});
    check({.m = 1027, .n = 1030, .k = 5, .trans_b = true, .keep = keep});
  }
}

TEST(Matmul, Accumulate) {
  check({.m = 7, .n = 9, .k = 200, .trans_a = true, .accumulate = true});
  check({.batch = 2, .m = 8, .n = 16, .k = 5, .accumulate = true});
}

TEST(Matmul, LongSums) {  // a heuristic cuts these into pieces that meet in the workspace
  check({.m = 16, .n = 24, .k = 2000, .trans_a = true});
  check({.m = 1, .n = 8, .k = 3001, .bias = true, .gelu = true});
}

// One shape again and again: the algorithm that suits one address must not be used for another.
TEST(Matmul, AddressesThatAreNotMultiplesOf16) {
  for (bool fused : {true, false}) {
    const Case aligned{.m = 9, .n = 16, .k = 32, .trans_b = true, .bias = fused, .gelu = fused, .keep = fused};
    check(aligned);
    for (int64_t offset : {1, 2, 4, 8})
      for (auto operand : {&Case::a_offset, &Case::b_offset, &Case::c_offset, &Case::bias_offset}) {
        Case moved = aligned;
        moved.*operand = offset;
        check(moved);
      }
  }
}

TEST(Matmul, AnEmptySumIsTheBias) {
  for (bool bias : {false, true})
    for (bool gelu : {false, true}) check({.m = 3, .n = 12, .k = 0, .bias = bias, .gelu = gelu, .keep = true});
  check({.m = 3, .n = 4, .k = 0, .accumulate = true});
}

TEST(Matmul, NothingToWrite) {
  check({.m = 0, .n = 4, .k = 3, .bias = true});
  check({.m = 4, .n = 0, .k = 3});
  check({.batch = 0, .m = 4, .n = 2, .k = 3});
}

// 2048 + 1 + 1: were the product rounded to f16 before the bias is added, the result would be 2048.
TEST(Matmul, TheBiasMeetsTheUnroundedSum) {
  for (int64_t n : {8, 9}) {  // fused, and not
    const DeviceTensor a = upload(std::vector<float>{2048, 1}, DType::F16);
    const DeviceTensor b = upload(std::vector<float>(static_cast<size_t>(2 * n), 1.0f), DType::F16);
    const DeviceTensor bias = upload(std::vector<float>(static_cast<size_t>(n), 1.0f), DType::F16), c = empty(n, DType::F16);
    MatmulArgs args{};
    args.c = c, args.a = a, args.b = b, args.bias = bias;
    args.batch = 1, args.m = 1, args.n = n, args.k = 2;
    backend().matmul(args);
    EXPECT_EQ(c.values(), std::vector<float>(static_cast<size_t>(n), 2050.0f)) << "n = " << n;
  }
}

// f32 operands keep all their digits (TF32 has ten).
TEST(Matmul, F32IsNotRounded) {
  const float x = 1.0f + 0x1p-20f;
  const DeviceTensor a = upload(std::vector<float>(64, x)), b = upload(std::vector<float>(64, 1.0f)), c = empty(64);
  MatmulArgs args{};
  args.c = c, args.a = a, args.b = b;
  args.batch = 1, args.m = args.n = args.k = 8;
  backend().matmul(args);
  EXPECT_EQ(c.values(), std::vector<float>(64, 8.0f * x));
}

TEST(Matmul, TheSameBitsEveryTime) {
  const DeviceTensor a = upload(random_values(64 * 1000, 1)), b = upload(random_values(64 * 1000, 2)), c = empty(64 * 64);
  MatmulArgs args{};
  args.c = c, args.a = a, args.b = b;
  args.batch = 1, args.m = args.n = 64, args.k = 1000;
  args.trans_a = true;
  backend().matmul(args);
  const auto first = c.bytes();
  for (int i = 0; i < 3; ++i) {
    backend().matmul(args);
    EXPECT_EQ(c.bytes(), first);
  }
}

TEST(Matmul, RefusesWhatItCannotDo) {
  const DeviceTensor a = empty(4), b = empty(4, DType::F16), c = empty(4), whole = empty(4, DType::I32);
  MatmulArgs args{};
  args.batch = 1, args.m = args.n = args.k = 2;
  args.c = c, args.a = a, args.b = b;
  const auto code = [&] {
    try {
      backend().matmul(args);
    } catch (const Error& error) {
      return std::string(error_code_name(error.code()));
    }
    return std::string("none");
  };
  EXPECT_EQ(code(), "ERR_DTYPE");
  args.c = whole, args.a = whole, args.b = whole;
  EXPECT_EQ(code(), "ERR_DTYPE");
  args.c = c, args.a = a, args.b = a, args.bias = a, args.accumulate = true;
  EXPECT_EQ(code(), "ERR_ARGUMENT");
}

}  // namespace
}  // namespace star::test
