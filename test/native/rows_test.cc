// Rows by position: results are exact.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "support.h"

namespace star::test {
namespace {

// Some positions of each sample, each once, in no order.
std::vector<int32_t> some_positions(int64_t batch, int64_t length, int64_t count) {
  std::vector<int32_t> positions;
  for (int64_t b = 0; b < batch; ++b) {
    std::vector<int32_t> order(static_cast<size_t>(length));
    std::iota(order.begin(), order.end(), 0);
    const auto keys = random_integers(length, static_cast<uint64_t>(7 + b), 0, 1 << 20);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t i, int32_t j) { return keys[static_cast<size_t>(i)] < keys[static_cast<size_t>(j)]; });
    positions.insert(positions.end(), order.begin(), order.begin() + count);
  }
  return positions;
}

TEST(Rows, TopPositionsAreThoseOfTheHighestScoresInRisingOrder) {
  for (const auto& [rows, length] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 7}, {2, 512}, {2, 1000}, {1, 4096}}) {
    for (int64_t keep : {int64_t{0}, int64_t{1}, (length + 2) / 3, length - 1, length}) {
      const auto steps = random_integers(rows * length, 4, -4, 5);  // few different scores: ties, signs, zeros of both kinds
      std::vector<float> score(steps.size());
      for (size_t i = 0; i < score.size(); ++i) {
        score[i] = static_cast<float>(steps[i]) / 8;
        if (i % 11 == 3) score[i] = -0.0f;
        if (i % 29 == 5) score[i] = NAN;
        if (i % 31 == 6) score[i] = -INFINITY;
      }
      const auto positions = upload(std::vector<int32_t>(static_cast<size_t>(rows * keep), -1));
      const auto d_score = upload(score);
      backend().top_positions({positions, d_score, rows, length, keep});
      std::vector<int32_t> expected;
      for (int64_t r = 0; r < rows; ++r) {
        std::vector<int32_t> order(static_cast<size_t>(length));
        std::iota(order.begin(), order.end(), 0);
        const auto value = [&](int32_t i) {
          const float x = score[static_cast<size_t>(r * length + i)];
          return std::isnan(x) ? -INFINITY : x;
        };
        std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return value(a) > value(b); });
        order.resize(static_cast<size_t>(keep));
        std::sort(order.begin(), order.end());
        expected.insert(expected.end(), order.begin(), order.end());
      }
      SCOPED_TRACE(::testing::Message() << rows << " x " << length << ", keep " << keep);
      EXPECT_EQ(positions.integers(), expected);
    }
  }
}

TEST(Rows, DistancesFromACenter) {
  for (DType dtype : kFloats) {
    for (const auto& [batch, length, cols] :
         std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {2, 9, 3}, {3, 64, 40}, {1, 300, 1024}}) {
      const auto x = rounded(random_values(batch * length * cols, 1), dtype);
      const auto center = rounded(random_values(batch * cols, 2), dtype);
      const auto d_x = upload(x, dtype), d_center = upload(center, dtype), y = empty(batch * length);
      backend().row_distances({y, d_x, d_center, batch, length, cols});
      std::vector<double> expected(static_cast<size_t>(batch * length));
      for (int64_t r = 0; r < batch * length; ++r)
        for (int64_t c = 0; c < cols; ++c) {
          const double difference =
              double{x[static_cast<size_t>(r * cols + c)]} - center[static_cast<size_t>(r / length * cols + c)];
          expected[static_cast<size_t>(r)] += difference * difference;
        }
      SCOPED_TRACE(::testing::Message() << dtype_name(dtype) << ", " << batch << " x " << length << " x " << cols);
      expect_close("reduce", y.values(), expected, DType::F32);
    }
  }
}

TEST(Rows, GatherTakesAndScatterPutsBack) {
  for (DType dtype : kFloats) {
    for (int64_t cols : {1, 3, 8, 260, 1024}) {
      for (const auto& [batch, length, count] :
           std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {2, 9, 0}, {2, 9, 4}, {3, 64, 64}, {1, 300, 17}}) {
        const auto positions = some_positions(batch, length, count);
        const auto x = rounded(random_values(batch * length * cols, 1), dtype);
        const auto part = rounded(random_values(batch * count * cols, 2), dtype);
        const auto d_positions = upload(positions);
        const auto d_x = upload(x, dtype), d_part = upload(part, dtype), y = empty(batch * count * cols, dtype);
        backend().gather_rows({y, d_x, d_positions, batch, length, count, cols});
        backend().scatter_rows({d_x, d_part, d_positions, batch, length, count, cols});
        std::vector<float> gathered, scattered = x;
        for (int64_t i = 0; i < batch * count; ++i)
          for (int64_t c = 0; c < cols; ++c) {
            const auto at = static_cast<size_t>((i / count * length + positions[static_cast<size_t>(i)]) * cols + c);
            gathered.push_back(x[at]);
            scattered[at] = part[static_cast<size_t>(i * cols + c)];
          }
        SCOPED_TRACE(::testing::Message() << dtype_name(dtype) << ", " << batch << " x " << length << " x " << cols << ", "
                                          << count << " rows");
        EXPECT_EQ(y.values(), gathered);
        EXPECT_EQ(d_x.values(), scattered);
      }
    }
  }
}

TEST(Rows, PositionsOutsideAreReported) {
  for (int32_t outside : {-1, 4}) {
    const auto positions = upload(std::vector<int32_t>{0, outside});
    const auto whole = upload(random_values(12, 1)), part = upload(random_values(6, 2));
    for (bool scatter : {false, true}) {
      EXPECT_THROW(
          {
            if (scatter)
              backend().scatter_rows({whole, part, positions, 1, 4, 2, 3});
            else
              backend().gather_rows({part, whole, positions, 1, 4, 2, 3});
            backend().synchronize();
          },
          Error);
    }
  }
}

}  // namespace
}  // namespace star::test
