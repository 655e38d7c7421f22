// Stable sampling's choice of positions: results are exact.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "support.h"

namespace star::test {
namespace {

TEST(Unmask, TakesTheHighestScores) {
  for (const auto& [rows, length] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 7}, {2, 512}, {2, 1000}, {1, 4096}}) {
    for (int64_t fix : {int64_t{0}, int64_t{1}, (length + 2) / 3, length, length + 9}) {
      for (bool among_all : {false, true}) {
        const int64_t count = rows * length;
        auto ids = random_integers(count, 1, 0, 50);
        const auto drawn = random_integers(count, 2, 100, 150), third = random_integers(count, 3, 0, 3);
        const auto steps = random_integers(count, 4, -4, 5);  // few different scores: ties, signs, zeros of both kinds
        std::vector<uint8_t> known(static_cast<size_t>(count));
        std::vector<float> score(static_cast<size_t>(count));
        for (size_t i = 0; i < known.size(); ++i) {
          known[i] = third[i] == 0;
          score[i] = static_cast<float>(steps[i]) / 8;
          if (i % 11 == 3) score[i] = -0.0f;
          if (i % 29 == 5) score[i] = NAN;
          if (i % 31 == 6) score[i] = -INFINITY;
        }
        const auto d_ids = upload(ids), d_drawn = upload(drawn);
        const auto d_known = upload(known);
        const auto d_score = upload(score);
        backend().unmask({d_ids, d_known, d_drawn, d_score, rows, length, fix, among_all});
        for (int64_t r = 0; r < rows; ++r) {
          const size_t at = static_cast<size_t>(r * length);
          std::vector<size_t> order;
          for (size_t i = 0; i < static_cast<size_t>(length); ++i)
            if (among_all || !known[at + i]) order.push_back(i);
          const auto value = [&](size_t i) { return std::isnan(score[at + i]) ? -INFINITY : score[at + i]; };
          std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return value(a) > value(b); });
          order.resize(std::min(order.size(), static_cast<size_t>(fix)));
          for (size_t i : order) {
            if (known[at + i]) continue;
            ids[at + i] = drawn[at + i];
            known[at + i] = 1;
          }
        }
        SCOPED_TRACE(::testing::Message() << rows << " x " << length << ", fix " << fix << (among_all ? ", among all" : ""));
        EXPECT_EQ(d_ids.integers(), ids);
        EXPECT_EQ(d_known.bytes(), known);
      }
    }
  }
}

}  // namespace
}  // namespace star::test
