// AdamW over lists of tensors, the global norm of gradients, and whether all are finite.
#include <cmath>

#include "support.h"

namespace star::test {
namespace {

class Optim : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(AllFloats, Optim, ::testing::ValuesIn(kFloats), [](const auto& info) { return dtype_name(info.param); });

constexpr float kLr = 1e-2f, kBeta1 = 0.9f, kBeta2 = 0.95f, kEps = 1e-8f;

// Tensors of a model: values as floats, and on the device.
struct Parameter {
  std::vector<double> p, m, v;
  DeviceTensor param, first, second;
  float weight_decay;

  Parameter(int64_t count, uint64_t seed, float weight_decay)
      : param(upload(random_values(count, seed))),
        first(upload(random_values(count, seed + 1, -0.1f, 0.1f))),
        second(upload(random_values(count, seed + 2, 0.0f, 0.1f))),
        weight_decay(weight_decay) {
    const auto a = param.values(), b = first.values(), c = second.values();
    p.assign(a.begin(), a.end());
    m.assign(b.begin(), b.end());
    v.assign(c.begin(), c.end());
  }

  void step(const std::vector<float>& grad, double clip, double t) {
    for (size_t i = 0; i < p.size(); ++i) {
      const double g = grad[i] * clip;
      m[i] = double{kBeta1} * m[i] + (1.0 - double{kBeta1}) * g;
      v[i] = double{kBeta2} * v[i] + (1.0 - double{kBeta2}) * g * g;
      p[i] = p[i] * (1.0 - double{kLr} * weight_decay) - double{kLr} * (m[i] / (1.0 - std::pow(double{kBeta1}, t))) /
                                                             (std::sqrt(v[i] / (1.0 - std::pow(double{kBeta2}, t))) + kEps);
    }
  }
};

// More tensors than a launch takes, an empty one, and large ones of odd and even sizes.
std::vector<int64_t> counts() {
  std::vector<int64_t> counts{1, 7, 0, 4096, 4097, 12291};
  for (int64_t i = 0; i < 140; ++i) counts.push_back(1 + i % 11);
  return counts;
}

TEST_P(Optim, AdamWFollowsTheFormula) {
  const DType dtype = GetParam();
  for (bool clipped : {false, true}) {
    std::vector<Parameter> parameters;
    uint64_t seed = 1;
    for (int64_t count : counts()) {
      seed += 10;
      parameters.emplace_back(count, seed, count % 2 == 0 ? 0.05f : 0.0f);
    }
    const auto norm = upload(std::vector<float>{4.0f});
    for (int64_t t = 1; t <= 2; ++t) {
      AdamWArgs args{{}, clipped ? CRef(norm) : CRef{}, 1.0f, 0.5f, kLr, kBeta1, kBeta2, kEps, t};
      std::vector<DeviceTensor> grads;
      grads.reserve(parameters.size());
      for (Parameter& p : parameters) {
        const auto grad = rounded(random_values(p.param.count, seed += 10, -2.0f, 2.0f), dtype);
        grads.push_back(upload(grad, dtype));
        args.tensors.push_back({p.param, p.first, p.second, grads.back(), p.param.count, p.weight_decay});
        p.step(grad, clipped ? 0.5 / (4.0 * 0.5 + 1e-6) : 0.5, static_cast<double>(t));
      }
      backend().adamw(args);
    }
    for (const Parameter& p : parameters) {
      SCOPED_TRACE(::testing::Message() << p.param.count << " elements, clipped " << clipped);
      expect_close("adamw", p.param.values(), p.p, DType::F32);
      expect_close("adamw", p.first.values(), p.m, DType::F32);
      expect_close("adamw", p.second.values(), p.v, DType::F32);
    }
  }
}

TEST(OptimValues, ASmallNormClipsNothing) {
  Parameter a(100, 1, 0.05f), b(100, 1, 0.05f);
  const auto grad = upload(random_values(100, 2)), norm = upload(std::vector<float>{0.5f});
  backend().adamw({{{a.param, a.first, a.second, grad, 100, 0.05f}}, norm, 1.0f, 1.0f, kLr, kBeta1, kBeta2, kEps, 1});
  backend().adamw({{{b.param, b.first, b.second, grad, 100, 0.05f}}, {}, 1.0f, 1.0f, kLr, kBeta1, kBeta2, kEps, 1});
  EXPECT_EQ(a.param.bytes(), b.param.bytes());
}

// Gradients of several types in one call, at addresses of every kind.
TEST(OptimValues, AdamWOfMixedTypesAndAddresses) {
  std::vector<Parameter> parameters;
  std::vector<DeviceTensor> grads;
  AdamWArgs args{{}, {}, 1.0f, 1.0f, kLr, kBeta1, kBeta2, kEps, 1};
  grads.reserve(kFloats.size());
  parameters.reserve(kFloats.size());
  for (size_t k = 0; k < kFloats.size(); ++k) {
    parameters.emplace_back(90, 30 * k, 0.05f);
    Parameter& p = parameters.back();
    const auto grad = rounded(random_values(90 + static_cast<int64_t>(k), 40 + k), kFloats[k]);
    grads.push_back(upload(grad, kFloats[k]));
    const CRef inside{static_cast<char*>(grads.back().ref().data) + k * dtype_size(kFloats[k]), kFloats[k]};
    args.tensors.push_back({p.param, p.first, p.second, inside, 90, p.weight_decay});
    p.step({grad.begin() + static_cast<int64_t>(k), grad.end()}, 1.0, 1.0);
  }
  backend().adamw(args);
  for (const Parameter& p : parameters) expect_close("adamw", p.param.values(), p.p, DType::F32);
}

// Some parameters are masters of weights in 16 bits, at addresses of every kind: those follow, the others stay.
void check_rounded(DType dtype) {
  std::vector<Parameter> parameters;
  std::vector<DeviceTensor> grads, weights;
  AdamWArgs args{{}, {}, 1.0f, 1.0f, kLr, kBeta1, kBeta2, kEps, 1};
  const auto sizes = counts();
  grads.reserve(sizes.size());
  weights.reserve(sizes.size());
  parameters.reserve(sizes.size());
  const auto inside = [&](size_t i) { return Ref{static_cast<char*>(weights[i].ref().data) + i % 3 * 2, dtype}; };
  for (size_t i = 0; i < sizes.size(); ++i) {
    parameters.emplace_back(sizes[i], 30 * i, 0.05f);
    const Parameter& p = parameters.back();
    grads.push_back(upload(rounded(random_values(sizes[i], 40 + i), dtype), dtype));
    weights.push_back(upload(std::vector<float>(static_cast<size_t>(sizes[i]) + 4, 7.0f), dtype));
    args.tensors.push_back({p.param, p.first, p.second, grads.back(), sizes[i], p.weight_decay});
    if (i % 4 != 0) args.tensors.back().rounded = inside(i);
  }
  backend().adamw(args);
  for (size_t i = 0; i < sizes.size(); ++i) {
    SCOPED_TRACE(::testing::Message() << sizes[i] << " elements");
    std::vector<float> expected(static_cast<size_t>(sizes[i]) + 4, 7.0f);
    const auto master = rounded(parameters[i].param.values(), dtype);
    if (i % 4 != 0) std::copy(master.begin(), master.end(), expected.begin() + static_cast<int64_t>(i % 3));
    EXPECT_EQ(weights[i].values(), expected);
  }
}
TEST(OptimValues, AdamWRoundsMastersIntoWeights) {
  for (const DType dtype : {DType::F16, DType::BF16}) check_rounded(dtype);
}

template <class Args>
Args list_of(const Ref& result, const std::vector<DeviceTensor>& tensors) {
  Args args{result, {}, {}};
  for (const DeviceTensor& t : tensors) {
    args.tensors.push_back(t);
    args.counts.push_back(t.count);
  }
  return args;
}

TEST_P(Optim, GlobalNorm) {
  const DType dtype = GetParam();
  std::vector<DeviceTensor> tensors;
  double sum = 0;
  uint64_t seed = 1;
  auto sizes = counts();
  sizes.push_back(33000);  // several blocks
  for (int64_t count : sizes) {
    const auto values = rounded(random_values(count, ++seed, -3.0f, 3.0f), dtype);
    for (float x : values) sum += static_cast<double>(x) * x;
    tensors.push_back(upload(values, dtype));
  }
  const auto norm = empty(1);
  backend().global_norm(list_of<GlobalNormArgs>(norm, tensors));
  expect_close("global_norm", norm.values(), {std::sqrt(sum)}, DType::F32);
}

TEST(OptimValues, GlobalNormNeitherOverflowsNorHidesNan) {
  std::vector<DeviceTensor> tensors;
  const auto norm = empty(1);
  backend().global_norm(list_of<GlobalNormArgs>(norm, tensors));
  EXPECT_EQ(norm.values()[0], 0.0f);
  tensors.push_back(upload(std::vector<float>(50, 1e25f)));
  backend().global_norm(list_of<GlobalNormArgs>(norm, tensors));
  expect_close("global_norm", norm.values(), {1e25 * std::sqrt(50.0)}, DType::F32);
  tensors.push_back(upload(std::vector<float>{0.0f, NAN}));
  backend().global_norm(list_of<GlobalNormArgs>(norm, tensors));
  EXPECT_TRUE(std::isnan(norm.values()[0]));
}

TEST_P(Optim, FiniteFindsOneInfinityOrNanAnywhere) {
  const DType dtype = GetParam();
  const float largest = dtype == DType::F16 ? 65504.0f : 3.38e38f;
  const auto sizes = counts();
  const auto verdict = [&](size_t tensor, size_t element, float value) {
    std::vector<DeviceTensor> tensors;
    for (size_t t = 0; t < sizes.size(); ++t) {
      std::vector<float> values(static_cast<size_t>(sizes[t]), t % 2 ? largest : -largest);
      if (t == tensor) values[element] = value;
      tensors.push_back(upload(values, dtype));
    }
    const auto finite = empty(1, DType::I32);
    backend().finite(list_of<FiniteArgs>(finite, tensors));
    return finite.integers()[0];
  };
  EXPECT_EQ(verdict(0, 0, 0.0f), 1);
  EXPECT_EQ(verdict(0, 0, NAN), 0);
  EXPECT_EQ(verdict(3, 4095, INFINITY), 0);
  EXPECT_EQ(verdict(4, 4096, -INFINITY), 0);
  EXPECT_EQ(verdict(145, 0, NAN), 0);
}

}  // namespace
}  // namespace star::test
