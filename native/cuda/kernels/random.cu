// Random tensors. Numbers are made in double and rounded once, so that a seed gives the same values on every machine: on the CPU
// and here they differ at most where two libraries' logarithms, sines and cosines do.
#include <cmath>

#include "cuda/cuda_backend.h"
#include "cuda/device/element.cuh"
#include "cuda/device/philox.cuh"
#include "cuda/elementwise.h"

namespace star {

namespace {

// Strictly inside (0, 1).
__device__ __forceinline__ double open_uniform(uint32_t word) { return (static_cast<double>(word) + 0.5) * 0x1p-32; }

struct Polynomial {
  double c[8];
  __device__ __forceinline__ double operator()(double x) const {
    double value = 0.0;
#pragma unroll
    for (int i = 7; i >= 0; --i) value = value * x + c[i];
    return value;
  }
};

// Inverse of the normal distribution function for p in [0.0228, 0.9773], Wichura's algorithm AS 241 (1988), 16 digits.
__device__ double inverse_normal(double p) {
  constexpr Polynomial a{{3.3871328727963666080e0, 1.3314166789178437745e+2, 1.9715909503065514427e+3, 1.3731693765509461125e+4,
                          4.5921953931549871457e+4, 6.7265770927008700853e+4, 3.3430575583588128105e+4,
                          2.5090809287301226727e+3}};
  constexpr Polynomial b{{1.0, 4.2313330701600911252e+1, 6.8718700749205790830e+2, 5.3941960214247511077e+3,
                          2.1213794301586595867e+4, 3.9307895800092710610e+4, 2.8729085735721942674e+4,
                          5.2264952788528545610e+3}};
  constexpr Polynomial c{{1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
                          1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2,
                          7.74545014278341407640e-4}};
  constexpr Polynomial d{{1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
                          1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
                          1.05075007164441684324e-9}};
  const double q = p - 0.5;
  if (fabs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * a(r) / b(r);
  }
  const double r = sqrt(-log(q < 0.0 ? p : 1.0 - p)) - 1.6;
  return copysign(c(r) / d(r), q);
}

struct RandomNumbers {
  double a, b;
  double outside;  // probability of a normal number below −2
};

// The four values made of one block of words.
template <RandomKind kind>
__device__ __forceinline__ Vector<float, 4> values_of(const RandomNumbers& parameters, const PhiloxWords& words) {
  const double a = parameters.a, b = parameters.b;
  Vector<float, 4> y;
  if constexpr (kind == RandomKind::Normal) {  // words 0 and 1 make values 0 and 1, words 2 and 3 the others
#pragma unroll
    for (int k = 0; k < 4; k += 2) {
      const double radius = sqrt(-2.0 * log(open_uniform(words.w[k]))), half_turns = 2.0 * open_uniform(words.w[k + 1]);
      y.v[k] = static_cast<float>(a + b * radius * cospi(half_turns));
      y.v[k + 1] = static_cast<float>(a + b * radius * sinpi(half_turns));
    }
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint32_t word = words.w[k];
      if constexpr (kind == RandomKind::Uniform) {  // 24 bits: u is a float
        y.v[k] = static_cast<float>(a + (b - a) * (static_cast<double>(word >> 8) * 0x1p-24));
      } else if constexpr (kind == RandomKind::TruncatedNormal) {
        const double p = parameters.outside + (1.0 - 2.0 * parameters.outside) * open_uniform(word);
        y.v[k] = static_cast<float>(a + b * fmin(fmax(inverse_normal(p), -2.0), 2.0));
      } else {
        y.v[k] = static_cast<float>(-log(-log(open_uniform(word))));
      }
    }
  }
  return y;
}

// Four values a thread, stored together when `vectors`.
template <RandomKind kind>
__global__ void random_kernel(float* y, RandomNumbers parameters, uint64_t seed, uint64_t offset, int64_t count, bool vectors) {
  const int64_t block = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, i = 4 * block;
  if (i >= count) return;
  const Vector<float, 4> values = values_of<kind>(parameters, philox(seed, offset + static_cast<uint64_t>(block)));
  if (vectors && i + 4 <= count) {
    store_vector(y + i, values);
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (i + k < count) y[i + k] = values.v[k];
  }
}

// ---------------------------------------------------------------------------------------------------------------------------

template <RandomKind kind>
void launch_random(CudaBackend& backend, const RandomArgs& args) {
  float* y = args.y.f32();
  launch("random", random_kernel<kind>, elementwise_shape(args.count, 4), backend.stream(), y,
         RandomNumbers{args.a, args.b, 0.5 * std::erfc(std::sqrt(2.0))}, args.seed, args.offset, args.count, aligned(y));
}

}  // namespace

void CudaBackend::random(const RandomArgs& args) {
  switch (args.kind) {
    case RandomKind::Uniform: return launch_random<RandomKind::Uniform>(*this, args);
    case RandomKind::Normal: return launch_random<RandomKind::Normal>(*this, args);
    case RandomKind::TruncatedNormal: return launch_random<RandomKind::TruncatedNormal>(*this, args);
    case RandomKind::Gumbel: return launch_random<RandomKind::Gumbel>(*this, args);
  }
}

}  // namespace star
