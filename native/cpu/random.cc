// Random tensors. Numbers are made in double and rounded once, so that a seed gives the same values on every machine.
#include <cmath>
#include <numbers>

#include "core/philox.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"

namespace star {

namespace {

// Strictly inside (0, 1).
double open_uniform(uint32_t word) { return (static_cast<double>(word) + 0.5) * 0x1p-32; }

double polynomial(const double (&coefficients)[8], double x) {
  double value = 0;
  for (int i = 7; i >= 0; --i) value = value * x + coefficients[i];
  return value;
}

// Inverse of the normal distribution function for p in [0.0228, 0.9773], Wichura's algorithm AS 241 (1988), 16 digits.
double inverse_normal(double p) {
  static constexpr double a[8] = {3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                  1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                  3.3430575583588128105e+4, 2.5090809287301226727e+3};
  static constexpr double b[8] = {1.0,
                                  4.2313330701600911252e+1,
                                  6.8718700749205790830e+2,
                                  5.3941960214247511077e+3,
                                  2.1213794301586595867e+4,
                                  3.9307895800092710610e+4,
                                  2.8729085735721942674e+4,
                                  5.2264952788528545610e+3};
  static constexpr double c[8] = {1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
                                  3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
                                  2.27238449892691845833e-2, 7.74545014278341407640e-4};
  static constexpr double d[8] = {1.0,
                                  2.05319162663775882187e0,
                                  1.67638483018380384940e0,
                                  6.89767334985100004550e-1,
                                  1.48103976427480074590e-1,
                                  1.51986665636164571966e-2,
                                  5.47593808499534494600e-4,
                                  1.05075007164441684324e-9};
  const double q = p - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * polynomial(a, r) / polynomial(b, r);
  }
  const double r = std::sqrt(-std::log(q < 0 ? p : 1 - p)) - 1.6;
  return std::copysign(polynomial(c, r) / polynomial(d, r), q);
}

// The four values made of one block of words.
void values_of(RandomKind kind, double a, double b, const std::array<uint32_t, 4>& words, float* values) {
  static const double kOutside = 0.5 * std::erfc(std::sqrt(2.0));  // probability of z < −2
  switch (kind) {
    case RandomKind::Uniform:
      for (int k = 0; k < 4; ++k)
        values[k] = static_cast<float>(a + (b - a) * static_cast<double>(philox_uniform(words[static_cast<size_t>(k)])));
      break;
    case RandomKind::Normal:  // words 0 and 1 make values 0 and 1, words 2 and 3 the others
      for (int k = 0; k < 4; k += 2) {
        const double radius = std::sqrt(-2.0 * std::log(open_uniform(words[static_cast<size_t>(k)])));
        const double angle = 2.0 * std::numbers::pi * open_uniform(words[static_cast<size_t>(k + 1)]);
        values[k] = static_cast<float>(a + b * radius * std::cos(angle));
        values[k + 1] = static_cast<float>(a + b * radius * std::sin(angle));
      }
      break;
    case RandomKind::TruncatedNormal:
      for (int k = 0; k < 4; ++k) {
        const double p = kOutside + (1.0 - 2.0 * kOutside) * open_uniform(words[static_cast<size_t>(k)]);
        values[k] = static_cast<float>(a + b * std::clamp(inverse_normal(p), -2.0, 2.0));
      }
      break;
    case RandomKind::Gumbel:
      for (int k = 0; k < 4; ++k)
        values[k] = static_cast<float>(-std::log(-std::log(open_uniform(words[static_cast<size_t>(k)]))));
      break;
  }
}

}  // namespace

void CpuBackend::random(const RandomArgs& args) {
  float* y = args.y.f32();
  parallel_for((args.count + 3) / 4, 512, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      float values[4];
      values_of(args.kind, args.a, args.b, philox4x32(args.seed, args.offset + static_cast<uint64_t>(block)), values);
      for (int64_t i = 4 * block; i < std::min(args.count, 4 * block + 4); ++i) y[i] = values[i - 4 * block];
    }
  });
}

}  // namespace star
