// Embedding rows, sums of their gradients, and nearest codebook rows.
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "support.h"

namespace star::test {
namespace {

class Quantize : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(AllFloats, Quantize, ::testing::ValuesIn(kFloats),
                         [](const auto& info) { return dtype_name(info.param); });

TEST_P(Quantize, EmbeddingCopiesRows) {
  const DType dtype = GetParam();
  const int64_t shapes[][3] = {{1, 1, 1}, {7, 5, 3}, {300, 33, 32}, {9, 4, 1024}, {5, 3, 1030}, {0, 4, 8}, {40, 6, 257}};
  for (const auto& [count, rows, cols] : shapes) {
    SCOPED_TRACE(::testing::Message() << count << " of " << rows << " rows of " << cols);
    const auto values = rounded(random_values(rows * cols, 1), dtype);
    const auto ids = random_integers(count, 2, 0, static_cast<int32_t>(rows));
    const auto table = upload(values, dtype), y = empty(count * cols, dtype);
    const auto dids = upload(ids);
    backend().embedding({y, table, dids, count, rows, cols});
    std::vector<float> expected;
    for (int32_t id : ids) expected.insert(expected.end(), values.begin() + id * cols, values.begin() + (id + 1) * cols);
    EXPECT_EQ(y.values(), expected);
  }
}

TEST(QuantizeBytes, Embedding) {
  const auto table = upload(std::vector<uint8_t>{1, 2, 3, 4, 5, 6});
  const auto ids = upload(std::vector<int32_t>{1, 0, 1});
  const auto y = empty(9, DType::U8);
  backend().embedding({y, table, ids, 3, 2, 3});
  EXPECT_EQ(y.bytes(), (std::vector<uint8_t>{4, 5, 6, 1, 2, 3, 4, 5, 6}));
}

void expect_index_error() {
  try {
    backend().synchronize();
    ADD_FAILURE() << "no error for an index outside the table";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Argument);
    EXPECT_NE(std::string(error.what()).find("outside the table"), std::string::npos) << error.what();
  }
  backend().synchronize();  // said once
}

TEST_P(Quantize, IndexOutsideTheTableIsReportedAndGivesZeros) {
  if (on_cpu()) GTEST_SKIP() << "the CPU backend reports in the call itself";
  const auto table = upload({1, 2, 3, 4}, GetParam());
  for (int32_t bad : {2, -1, std::numeric_limits<int32_t>::max()}) {
    const auto ids = upload(std::vector<int32_t>{1, bad, 0});
    const auto y = empty(6, GetParam());
    backend().embedding({y, table, ids, 3, 2, 2});
    expect_index_error();
    EXPECT_EQ(y.values(), (std::vector<float>{3, 4, 0, 0, 1, 2}));
    const auto dy = upload({1, 2, 3, 4, 5, 6}, GetParam()), dtable = empty(4, GetParam());
    backend().embedding_backward({dtable, dy, ids, 3, 2, 2});
    expect_index_error();
    EXPECT_EQ(dtable.values(), (std::vector<float>{5, 6, 1, 2}));
  }
}

// Every row is summed in f32 in the order of the positions, so f32 results are equal bit for bit.
TEST_P(Quantize, EmbeddingBackwardSumsInOrder) {
  const DType dtype = GetParam();
  const int64_t shapes[][3] = {{1, 1, 1}, {0, 3, 4}, {2500, 7, 8}, {1024, 1, 33}, {3000, 2000, 8}, {1025, 5, 64}, {60, 3000, 3}};
  for (const auto& [count, rows, cols] : shapes) {
    SCOPED_TRACE(::testing::Message() << count << " of " << rows << " rows of " << cols);
    const auto gradients = rounded(random_values(count * cols, 3, -1.0f, 2.0f), dtype);
    const auto ids = random_integers(count, 4, 0, static_cast<int32_t>(rows));
    const auto dy = upload(gradients, dtype), dtable = empty(rows * cols, dtype);
    const auto dids = upload(ids);
    backend().embedding_backward({dtable, dy, dids, count, rows, cols});
    std::vector<float> expected(static_cast<size_t>(rows * cols));
    for (int64_t i = 0; i < count; ++i)
      for (int64_t c = 0; c < cols; ++c)
        expected[static_cast<size_t>(ids[static_cast<size_t>(i)] * cols + c)] += gradients[static_cast<size_t>(i * cols + c)];
    EXPECT_EQ(dtable.values(), rounded(expected, dtype));
  }
}

struct Nearest {
  std::vector<int32_t> ids;
  std::vector<float> distance;
};
Nearest nearest(const std::vector<float>& x, const std::vector<float>& codebook, int64_t cols, DType dtype) {
  const auto rows = static_cast<int64_t>(x.size()) / cols, vocab = static_cast<int64_t>(codebook.size()) / cols;
  const auto dx = upload(x, dtype), dcodebook = upload(codebook, dtype), distance = empty(rows);
  const auto ids = empty(rows, DType::I32);
  backend().nearest_row({ids, distance, dx, dcodebook, rows, cols, vocab});
  return {ids.integers(), distance.values()};
}

TEST_P(Quantize, NearestRow) {
  const DType dtype = GetParam();
  const int64_t shapes[][3] = {{1, 1, 1},    {3, 5, 3},     {65, 257, 7},   {130, 1000, 64},
                               {64, 33, 32}, {7, 4096, 32}, {129, 128, 33}, {0, 4, 4}};
  for (const auto& [rows, vocab, cols] : shapes) {
    SCOPED_TRACE(::testing::Message() << rows << " among " << vocab << " rows of " << cols);
    const auto x = rounded(random_values(rows * cols, 5), dtype), codebook = rounded(random_values(vocab * cols, 6), dtype);
    const Nearest found = nearest(x, codebook, cols, dtype);
    std::vector<double> smallest;  // distances
    std::vector<float> of_found;   // of the rows that were found
    for (int64_t r = 0; r < rows; ++r) {
      double best = std::numeric_limits<double>::infinity(), of_row = best;
      for (int64_t v = 0; v < vocab; ++v) {
        double sum = 0.0;
        for (int64_t c = 0; c < cols; ++c) {
          const double difference =
              static_cast<double>(x[static_cast<size_t>(r * cols + c)]) - codebook[static_cast<size_t>(v * cols + c)];
          sum += difference * difference;
        }
        best = std::min(best, sum);
        if (v == found.ids[static_cast<size_t>(r)]) of_row = sum;
      }
      smallest.push_back(best);
      of_found.push_back(static_cast<float>(of_row));
    }
    expect_close("nearest_row", of_found, smallest, DType::F32);
    expect_close("nearest_row", found.distance, smallest, DType::F32);
  }
}

// Small whole numbers: every distance is exact in f32, and many are equal.
TEST_P(Quantize, NearestRowTakesTheLowestIndexOnATie) {
  const int64_t rows = 150, vocab = 700, cols = 3;
  std::vector<float> x, codebook;
  for (int32_t i : random_integers(rows * cols, 7, -3, 4)) x.push_back(static_cast<float>(i));
  for (int32_t i : random_integers(vocab * cols, 8, -2, 3)) codebook.push_back(static_cast<float>(i));
  const Nearest found = nearest(x, codebook, cols, GetParam());
  for (size_t r = 0; r < rows; ++r) {
    float best = std::numeric_limits<float>::infinity();
    int32_t id = -1;
    for (size_t v = 0; v < vocab; ++v) {
      float sum = 0.0f;
      for (size_t c = 0; c < cols; ++c)
        sum += (x[r * cols + c] - codebook[v * cols + c]) * (x[r * cols + c] - codebook[v * cols + c]);
      if (sum < best) {
        best = sum;
        id = static_cast<int32_t>(v);
      }
    }
    ASSERT_EQ(found.ids[r], id) << "vector " << r;
    ASSERT_EQ(found.distance[r], best) << "vector " << r;
  }
}

TEST_P(Quantize, NearestRowOfAVectorThatIsNone) {
  const Nearest found = nearest({NAN, 1, 4, 4}, {1, 1, 2, 2, 3, 3}, 2, GetParam());
  EXPECT_EQ(found.ids, (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(found.distance[1], 2.0f);
}

}  // namespace
}  // namespace star::test
