// Random numbers: every element by its definition, from the words of core/philox.h.
#include <cmath>

#include "core/philox.h"
#include "support.h"

namespace star::test {
namespace {

double open_uniform(uint32_t word) { return (static_cast<double>(word) + 0.5) / 4294967296.0; }

// The z with Φ(z) = p, by bisection: slow and independent of any approximation of the inverse.
double normal_quantile(double p) {
  double low = -3.0, high = 3.0;
  while (high - low > 1e-15) {
    const double middle = 0.5 * (low + high);
    if (middle == low || middle == high) break;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

double expected_value(RandomKind kind, double a, double b, uint64_t seed, uint64_t offset, int64_t i) {
  const auto words = philox4x32(seed, offset + static_cast<uint64_t>(i / 4));
  const auto k = static_cast<size_t>(i % 4);
  const double u = open_uniform(words[k]);
  switch (kind) {
    case RandomKind::Uniform: return a + (b - a) * static_cast<double>(philox_uniform(words[k]));
    case RandomKind::Normal: {
      const double radius = std::sqrt(-2.0 * std::log(open_uniform(words[k / 2 * 2])));
      const double angle = 2.0 * M_PI * open_uniform(words[k / 2 * 2 + 1]);
      return a + b * radius * (k % 2 == 0 ? std::cos(angle) : std::sin(angle));
    }
    case RandomKind::TruncatedNormal: {
      const double outside = 0.5 * std::erfc(std::sqrt(2.0));
      return a + b * normal_quantile(outside + (1.0 - 2.0 * outside) * u);
    }
    case RandomKind::Gumbel: return -std::log(-std::log(u));
  }
  return NAN;
}

constexpr RandomKind kKinds[] = {RandomKind::Uniform, RandomKind::Normal, RandomKind::TruncatedNormal, RandomKind::Gumbel};

TEST(Random, EveryElementByItsDefinition) {
  struct Stream {
    uint64_t seed, offset;
    int64_t count;
    float a, b;
  };
  for (const Stream& s : {Stream{0, 0, 1, 0.0f, 1.0f}, Stream{1, 0, 5, 0.0f, 1.0f},
                          Stream{0xFEDCBA9876543210, 7, 1027, -0.5f, 2.0f}, Stream{42, uint64_t{1} << 33, 600, 3.0f, 0.02f}})
    for (RandomKind kind : kKinds) {
      SCOPED_TRACE(::testing::Message() << "kind " << static_cast<int>(kind) << ", " << s.count << " from seed " << s.seed);
      const auto y = empty(s.count);
      backend().random({y, kind, s.a, s.b, s.seed, s.offset, s.count});
      const auto values = y.values();
      for (int64_t i = 0; i < s.count; ++i) {
        const float given = values[static_cast<size_t>(i)];
        const double expected = expected_value(kind, s.a, s.b, s.seed, s.offset, i);
        if (kind == RandomKind::Uniform) {
          ASSERT_EQ(given, static_cast<float>(expected)) << "element " << i;
        } else {  // half a unit of float, and what double arithmetic leaves beside numbers near 0
          ASSERT_LE(std::fabs(given - expected), 0x1.01p-24 * std::fabs(expected) + 1e-14) << "element " << i;
        }
      }
    }
}

// Any part of a stream can be made alone, and at any address.
TEST(Random, PartsOfAStream) {
  for (RandomKind kind : kKinds) {
    const auto whole = empty(4096), part = empty(401);
    backend().random({whole, kind, 0.0f, 1.0f, 9, 100, 4096});
    const Ref shifted{static_cast<char*>(part.ref().data) + sizeof(float), DType::F32};
    backend().fill({part, 0.0, 401});
    backend().random({shifted, kind, 0.0f, 1.0f, 9, 100 + 300, 400});
    const auto all = whole.values(), some = part.values();
    for (size_t i = 0; i < 400; ++i) ASSERT_EQ(some[i + 1], all[i + 1200]) << "element " << i;
  }
}

TEST(Random, EmptyTensor) {
  const auto y = empty(0);
  backend().random({y, RandomKind::Normal, 0.0f, 1.0f, 1, 0, 0});
  EXPECT_TRUE(y.values().empty());
}

}  // namespace
}  // namespace star::test
