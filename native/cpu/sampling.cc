// Drawing tokens from rows of logits after top-k and top-p, and the soft Gumbel mix of codebook rows. Nothing is sorted:
// both filters find their boundary by partitioning.
#include "cpu/vector_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/sampling.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

// The largest of a row; NaN when any element is.
float sampling_row_max(const float* z, int64_t n) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V32 top = set(-std::numeric_limits<float>::infinity()), wrong = hn::Zero(d);
  const auto look = [&](V32 v) {
    top = hn::Max(v, top);
    wrong = hn::IfThenElse(hn::IsNaN(v), set(1.0f), wrong);
  };
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) look(hn::LoadU(d, z + i));
  float highest = hn::GetLane(hn::MaxOfLanes(d, top));
  bool nan = hn::GetLane(hn::MaxOfLanes(d, wrong)) > 0.0f;
  for (; i < n; ++i) {
    nan = nan || std::isnan(z[i]);
    highest = std::max(highest, z[i]);
  }
  return nan ? std::numeric_limits<float>::quiet_NaN() : highest;
}

// e = exp(z − top) where z ≥ threshold, else 0.
void sampling_exp(float* e, const float* z, float top, float threshold, int64_t n) {
  const V32 shift = set(top), lowest = set(threshold);
  map1(e, z, n, [=](V32 v) { return hn::IfThenElseZero(hn::Ge(v, lowest), exp_of(hn::Sub(v, shift))); });
}

double sampling_sum(const float* e, int64_t n) {
  return sum2(e, e, n, [](V32 a, V32) { return a; });
}

void sampling_divide(float* p, const float* e, float by, int64_t n) {
  const V32 divisor = set(by);
  map1(p, e, n, [=](V32 v) { return hn::Div(v, divisor); });
}

// w = (z·factor + noise)/temperature where kept is not 0, else −∞.
void sampling_perturb(float* w, const float* z, const float* noise, const float* kept, float factor, float temperature, int64_t n) {
  const F32 d;
  const V32 f = set(factor), t = set(temperature), none = set(-std::numeric_limits<float>::infinity());
  map3(w, z, noise, kept, n, [=](V32 v, V32 g, V32 k) {
    return hn::IfThenElse(hn::Gt(k, hn::Zero(d)), hn::Div(hn::Add(hn::Mul(v, f), g), t), none);
  });
}

// y = Σ w[v]·codebook[v] / total over the tokens with a weight.
void sampling_mix(float* y, const float* w, const float* codebook, float total, int64_t vocab, int64_t cols) {
  std::memset(y, 0, static_cast<size_t>(cols) * sizeof(float));
  for (int64_t v = 0; v < vocab; ++v) {
    if (w[v] == 0.0f) continue;
    const V32 weight = set(w[v] / total);
    map2(y, y, codebook + v * cols, cols, [weight](V32 sum, V32 row) { return hn::MulAdd(weight, row, sum); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {

HWY_EXPORT(sampling_row_max);
HWY_EXPORT(sampling_exp);
HWY_EXPORT(sampling_sum);
HWY_EXPORT(sampling_divide);
HWY_EXPORT(sampling_perturb);
HWY_EXPORT(sampling_mix);

struct Filter {
  const char* op;
  int64_t vocab, top_k;
  float top_p;
};

struct Workspace {   // of one thread
  std::vector<float> values, exps;
  std::vector<int32_t> order;
  explicit Workspace(int64_t vocab) : exps(static_cast<size_t>(vocab)) {}
};

float checked_max(const Filter& f, const float* z, int64_t row) {
  const float top = HWY_DYNAMIC_DISPATCH(sampling_row_max)(z, f.vocab);
  if (!std::isfinite(top))
    fail(ErrorCode::Argument, "%s: the largest logit of row %lld is %f, expected a finite number in every row and none that is not a number",
         f.op, static_cast<long long>(row), static_cast<double>(top));
  return top;
}

// Sets to 0 the elements whose cumulative share from the smallest up is ≤ limit of the total; of equal ones the first go first.
// The largest always stays, the last one on a tie.
void remove_tail(float* e, int64_t vocab, double limit, std::vector<int32_t>& order) {
  order.clear();
  int32_t largest = 0;
  for (int32_t i = 0; i < static_cast<int32_t>(vocab); ++i) {
    if (e[i] > 0.0f) order.push_back(i);
    if (e[i] >= e[largest]) largest = i;
  }
  const float kept = e[largest];
  auto begin = order.begin(), end = order.end();
  double removed = 0.0;
  while (begin != end) {
    // Median of three against rows that come sorted; the order of indices is kept, so that equal elements leave in turn.
    const float a = e[*begin], b = e[*(begin + (end - begin) / 2)], c = e[*(end - 1)];
    const float pivot = std::max(std::min(a, b), std::min(std::max(a, b), c));
    const auto middle = std::stable_partition(begin, end, [&](int32_t i) { return e[i] < pivot; });
    double below = 0.0;
    for (auto i = begin; i != middle; ++i) below += e[*i];
    if (removed + below > limit) {
      end = middle;
      continue;
    }
    removed += below;
    for (auto i = begin; i != middle; ++i) e[*i] = 0.0f;
    const auto above = std::stable_partition(middle, end, [&](int32_t i) { return e[i] == pivot; });
    for (begin = middle; begin != above; ++begin) {
      removed += e[*begin];
      if (removed > limit) break;
      e[*begin] = 0.0f;
    }
    if (begin != above) break;
  }
  e[largest] = kept;
}

// e = exp(z − max) of the tokens that top-k and top-p keep, 0 elsewhere; returns Σ e.
double filter_row(const Filter& f, float* e, const float* z, int64_t row, Workspace& work) {
  const float top = checked_max(f, z, row);
  float threshold = -std::numeric_limits<float>::infinity();
  if (f.top_k > 0 && f.top_k < f.vocab) {
    work.values.assign(z, z + f.vocab);
    std::nth_element(work.values.begin(), work.values.begin() + (f.top_k - 1), work.values.end(), std::greater<float>());
    threshold = work.values[static_cast<size_t>(f.top_k - 1)];
  }
  HWY_DYNAMIC_DISPATCH(sampling_exp)(e, z, top, threshold, f.vocab);
  double sum = HWY_DYNAMIC_DISPATCH(sampling_sum)(e, f.vocab);
  if (f.top_p > 0.0f) {
    remove_tail(e, f.vocab, (1.0 - static_cast<double>(f.top_p)) * sum, work.order);
    sum = HWY_DYNAMIC_DISPATCH(sampling_sum)(e, f.vocab);
  }
  return sum;
}

// The number of tokens whose cumulative probability is ≤ u·Σ p.
int32_t draw_token(const float* p, int64_t vocab, float u) {
  double sum = 0.0;
  for (int64_t v = 0; v < vocab; ++v) sum += p[v];
  const double target = u * sum;
  double cumulated = 0.0;
  for (int64_t v = 0; v < vocab; ++v) {
    cumulated += p[v];
    if (cumulated > target) return static_cast<int32_t>(v);
  }
  fail(ErrorCode::Argument, "draw: the uniform number %f is not below 1", static_cast<double>(u));
}

}  // namespace

void CpuBackend::draw(const DrawArgs& a) {
  const float* logits = a.logits.f32();
  const float* uniform = a.ids ? a.uniform.f32() : nullptr;
  int32_t* ids = a.ids ? a.ids.i32() : nullptr;
  float* probability = a.probability ? a.probability.f32() : nullptr;
  float* probabilities = a.probabilities ? a.probabilities.f32() : nullptr;
  const Filter filter{"draw", a.vocab, a.top_k, a.top_p};
  parallel_for(a.rows, 1, [&](int64_t begin, int64_t end) {
    Workspace work(a.vocab);
    for (int64_t r = begin; r < end; ++r) {
      float* p = probabilities ? probabilities + r * a.vocab : work.exps.data();
      const double sum = filter_row(filter, p, logits + r * a.vocab, r, work);
      HWY_DYNAMIC_DISPATCH(sampling_divide)(p, p, static_cast<float>(sum), a.vocab);
      if (!ids) continue;
      ids[r] = draw_token(p, a.vocab, uniform[r]);
      if (probability) probability[r] = p[ids[r]];
    }
  });
}

void CpuBackend::gumbel_mix(const GumbelMixArgs& a) {
  float* y = a.y.f32();
  const float* logits = a.logits.f32();
  const float* noise = a.noise.f32();
  const float* codebook = a.codebook.f32();
  const Filter filter{"gumbel_mix", a.vocab, a.top_k, a.top_p};
  parallel_for(a.rows, 1, [&](int64_t begin, int64_t end) {
    Workspace work(a.vocab);
    float* w = work.exps.data();
    for (int64_t r = begin; r < end; ++r) {
      const float* z = logits + r * a.vocab;
      filter_row(filter, w, z, r, work);
      HWY_DYNAMIC_DISPATCH(sampling_perturb)(w, z, noise + r * a.vocab, w, a.factor, a.temperature, a.vocab);
      const float top = checked_max(filter, w, r);
      HWY_DYNAMIC_DISPATCH(sampling_exp)(w, w, top, -std::numeric_limits<float>::infinity(), a.vocab);
      const float total = static_cast<float>(HWY_DYNAMIC_DISPATCH(sampling_sum)(w, a.vocab));
      HWY_DYNAMIC_DISPATCH(sampling_mix)(y + r * a.cols, w, codebook, total, a.vocab, a.cols);
    }
  });
}

}  // namespace star
#endif  // HWY_ONCE
