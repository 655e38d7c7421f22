// Drawing tokens from rows of logits after top-k and top-p, and the soft Gumbel mix of codebook rows. No row is sorted: both
// filters count their tokens in bins of the logit and look closer at one bin only.
#include "cpu/vector_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/sampling.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <array>
#include <cmath>
#include <functional>
#include <vector>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/vector-inl.h"
#include "cpu/widen.h"

#ifndef STAR_CPU_LOGIT_RANGE
#define STAR_CPU_LOGIT_RANGE
namespace star {
struct LogitRange {
  float top, bottom;
};
}  // namespace star
#endif

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

// The largest and the smallest of a row; NaN when any element is.
LogitRange sampling_range(const float* z, int64_t n) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V32 top = set(-std::numeric_limits<float>::infinity()), bottom = set(std::numeric_limits<float>::infinity()),
      wrong = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const V32 v = hn::LoadU(d, z + i);
    top = hn::Max(v, top);
    bottom = hn::Min(v, bottom);
    wrong = hn::IfThenElse(hn::IsNaN(v), set(1.0f), wrong);
  }
  LogitRange range{hn::GetLane(hn::MaxOfLanes(d, top)), hn::GetLane(hn::MinOfLanes(d, bottom))};
  bool nan = hn::GetLane(hn::MaxOfLanes(d, wrong)) > 0.0f;
  for (; i < n; ++i) {
    nan = nan || std::isnan(z[i]);
    range.top = std::max(range.top, z[i]);
    range.bottom = std::min(range.bottom, z[i]);
  }
  if (nan) range.top = range.bottom = std::numeric_limits<float>::quiet_NaN();
  return range;
}

// The bin of each logit: (top − z)·scale, whole, at most `last`. Larger logits are in lower bins.
void sampling_bins(int32_t* bins, const float* z, float top, float scale, int32_t last, int64_t n) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto bin = [&](V32 v) {
    return hn::ConvertTo(di, hn::Min(hn::Mul(hn::Sub(set(top), v), set(scale)), set(static_cast<float>(last))));
  };
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(bin(hn::LoadU(d, z + i)), di, bins + i);
  if (i == n) return;
  HWY_ALIGN int32_t rest[hn::MaxLanes(d)];
  hn::Store(bin(load_first(z + i, n - i)), di, rest);
  std::memcpy(bins + i, rest, static_cast<size_t>(n - i) * sizeof(int32_t));
}

// e = exp(z − top) where z ≥ threshold, else 0.
void sampling_exp(float* e, const float* z, float top, float threshold, int64_t n) {
  const V32 shift = set(top), lowest = set(threshold);
  map1(e, z, n, [=](V32 v) { return hn::IfThenElseZero(hn::Ge(v, lowest), exp_below(hn::Sub(v, shift))); });
}

double sampling_sum(const float* e, int64_t n) {
  return sum2(e, e, n, [](V32 a, V32) { return a; });
}

void sampling_divide(float* p, const float* e, float by, int64_t n) {
  const V32 divisor = set(by);
  map1(p, e, n, [=](V32 v) { return hn::Div(v, divisor); });
}

// w = (z·factor + noise)/temperature where kept is not 0, else −∞.
void sampling_perturb(float* w, const float* z, const float* noise, const float* kept, float factor, float temperature,
                      int64_t n) {
  const F32 d;
  const V32 f = set(factor), t = set(temperature), none = set(-std::numeric_limits<float>::infinity());
  map3(w, z, noise, kept, n,
       [=](V32 v, V32 g, V32 k) { return hn::IfThenElse(hn::Gt(k, hn::Zero(d)), hn::Div(hn::Add(hn::Mul(v, f), g), t), none); });
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

HWY_EXPORT(sampling_range);
HWY_EXPORT(sampling_bins);
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

int64_t row_grain(int64_t vocab) { return std::max<int64_t>(1, 4096 / std::max<int64_t>(1, vocab)); }

constexpr int kBins = 1024;
constexpr float kFarBelow = 88.0f;  // e^−88 is nothing beside the largest token

struct Workspace {  // of one thread
  std::vector<float> exps, values;
  std::vector<int32_t> bins, order;
  std::array<double, kBins> mass;
  explicit Workspace(const Filter& f) : exps(static_cast<size_t>(f.vocab)) {
    if (f.top_p > 0.0f || (f.top_k > 0 && f.top_k < f.vocab)) bins.resize(static_cast<size_t>(f.vocab));
  }
};

LogitRange checked_range(const Filter& f, const float* z, int64_t row) {
  const LogitRange range = HWY_DYNAMIC_DISPATCH(sampling_range)(z, f.vocab);
  if (!std::isfinite(range.top))
    fail(ErrorCode::Argument,
         "%s: the largest logit of row %lld is %f, expected a finite number in every row and none that is not a number", f.op,
         static_cast<long long>(row), static_cast<double>(range.top));
  return range;
}

// The k-th largest of a row whose bins are known.
float kth_largest(const float* z, int64_t vocab, int64_t k, Workspace& work) {
  std::array<int32_t, kBins> counts{};
  for (int64_t v = 0; v < vocab; ++v) ++counts[work.bins[v]];
  int bin = 0;
  for (; counts[bin] < k; ++bin) k -= counts[bin];
  work.values.clear();
  for (int64_t v = 0; v < vocab; ++v)
    if (work.bins[v] == bin) work.values.push_back(z[v]);
  std::nth_element(work.values.begin(), work.values.begin() + (k - 1), work.values.end(), std::greater<float>());
  return work.values[static_cast<size_t>(k - 1)];
}

// Sets to 0 the e of tokens whose cumulative sum from the smallest logit up is ≤ limit; of equal ones the first go first.
// The largest always stays, the last one on a tie.
void remove_tail(float* e, const float* z, int64_t vocab, double limit, Workspace& work) {
  work.mass.fill(0.0);
  int32_t largest = 0;
  for (int32_t v = 0; v < static_cast<int32_t>(vocab); ++v) {
    work.mass[work.bins[v]] += e[v];
    if (z[v] >= z[largest]) largest = v;
  }
  double removed = 0.0;
  int boundary = kBins - 1;
  for (; boundary >= 0 && removed + work.mass[boundary] <= limit; --boundary) removed += work.mass[boundary];
  const float kept = e[largest];
  work.order.clear();
  for (int32_t v = 0; v < static_cast<int32_t>(vocab); ++v) {
    if (work.bins[v] > boundary)
      e[v] = 0.0f;
    else if (work.bins[v] == boundary)
      work.order.push_back(v);
  }
  std::sort(work.order.begin(), work.order.end(), [z](int32_t a, int32_t b) { return z[a] < z[b] || (z[a] == z[b] && a < b); });
  for (int32_t v : work.order) {
    removed += e[v];
    if (removed > limit) break;
    e[v] = 0.0f;
  }
  e[largest] = kept;
}

// e = exp(z − max) of the tokens that top-k and top-p keep, 0 elsewhere; returns Σ e.
double filter_row(const Filter& f, float* e, const float* z, int64_t row, Workspace& work) {
  const LogitRange range = checked_range(f, z, row);
  float threshold = -std::numeric_limits<float>::infinity();
  if (!work.bins.empty()) {
    const float width = std::min(kFarBelow, range.top - range.bottom);
    HWY_DYNAMIC_DISPATCH(sampling_bins)(work.bins.data(), z, range.top, width > 0.0f ? kBins / width : 0.0f, kBins - 1, f.vocab);
  }
  if (f.top_k > 0 && f.top_k < f.vocab) threshold = kth_largest(z, f.vocab, f.top_k, work);
  HWY_DYNAMIC_DISPATCH(sampling_exp)(e, z, range.top, threshold, f.vocab);
  double sum = HWY_DYNAMIC_DISPATCH(sampling_sum)(e, f.vocab);
  if (f.top_p > 0.0f) {
    remove_tail(e, z, f.vocab, (1.0 - static_cast<double>(f.top_p)) * sum, work);
    sum = HWY_DYNAMIC_DISPATCH(sampling_sum)(e, f.vocab);
  }
  return sum;
}

// The number of tokens whose cumulative probability is ≤ u·Σ p. Sums of blocks find the block, then its tokens are added one by
// one.
int32_t draw_token(const float* p, int64_t vocab, float u, std::vector<double>& blocks) {
  if (!(u >= 0.0f && u < 1.0f))
    fail(ErrorCode::Argument, "draw: the uniform number is %f, expected one from 0 on and below 1", static_cast<double>(u));
  constexpr int64_t kBlock = 64;
  blocks.clear();
  double sum = 0.0;
  for (int64_t begin = 0; begin < vocab; begin += kBlock) {
    double part[4] = {};
    const int64_t end = std::min(vocab, begin + kBlock);
    for (int64_t v = begin; v < end; ++v) part[v % 4] += p[v];
    blocks.push_back((part[0] + part[1]) + (part[2] + part[3]));
    sum += blocks.back();
  }
  const double target = u * sum;
  double cumulated = 0.0;
  int32_t last = -1;
  for (size_t block = 0; block < blocks.size(); ++block) {
    const double after = cumulated + blocks[block];
    if (after > target) {
      const int64_t begin = static_cast<int64_t>(block) * kBlock;
      for (int64_t v = begin; v < std::min(vocab, begin + kBlock); ++v) {
        cumulated += p[v];
        if (p[v] > 0.0f) last = static_cast<int32_t>(v);
        if (cumulated > target) return last;
      }
      return last;  // the block's sum in another order passed the target by a last bit
    }
    cumulated = after;
  }
  return static_cast<int32_t>(vocab - 1);  // not reached: u·Σ p is below Σ p
}

}  // namespace

void CpuBackend::draw(const DrawArgs& a) {
  if (is_half(a.logits.dtype)) return widened(*this, "draw", a.logits.dtype, a, &CpuBackend::draw);
  const float* logits = a.logits.f32();
  const float* uniform = a.ids ? a.uniform.f32() : nullptr;
  int32_t* ids = a.ids ? a.ids.i32() : nullptr;
  float* probability = a.probability ? a.probability.f32() : nullptr;
  float* probabilities = a.probabilities ? a.probabilities.f32() : nullptr;
  const Filter filter{"draw", a.vocab, a.top_k, a.top_p};
  parallel_for(a.rows, row_grain(a.vocab), [&](int64_t begin, int64_t end) {
    Workspace work(filter);
    std::vector<double> blocks;
    for (int64_t r = begin; r < end; ++r) {
      float* p = probabilities ? probabilities + r * a.vocab : work.exps.data();
      const double sum = filter_row(filter, p, logits + r * a.vocab, r, work);
      HWY_DYNAMIC_DISPATCH(sampling_divide)(p, p, static_cast<float>(sum), a.vocab);
      if (!ids) continue;
      ids[r] = draw_token(p, a.vocab, uniform[r], blocks);
      if (probability) probability[r] = p[ids[r]];
    }
  });
}

void CpuBackend::gumbel_mix(const GumbelMixArgs& a) {
  if (is_half(a.logits.dtype)) return widened(*this, "gumbel_mix", a.logits.dtype, a, &CpuBackend::gumbel_mix);
  float* y = a.y.f32();
  const float* logits = a.logits.f32();
  const float* noise = a.noise.f32();
  const float* codebook = a.codebook.f32();
  const Filter filter{"gumbel_mix", a.vocab, a.top_k, a.top_p};
  parallel_for(a.rows, row_grain(a.vocab), [&](int64_t begin, int64_t end) {
    Workspace work(filter);
    float* w = work.exps.data();
    for (int64_t r = begin; r < end; ++r) {
      const float* z = logits + r * a.vocab;
      filter_row(filter, w, z, r, work);
      HWY_DYNAMIC_DISPATCH(sampling_perturb)(w, z, noise + r * a.vocab, w, a.factor, a.temperature, a.vocab);
      const float top = checked_range(filter, w, r).top;
      HWY_DYNAMIC_DISPATCH(sampling_exp)(w, w, top, -std::numeric_limits<float>::infinity(), a.vocab);
      const float total = static_cast<float>(HWY_DYNAMIC_DISPATCH(sampling_sum)(w, a.vocab));
      HWY_DYNAMIC_DISPATCH(sampling_mix)(y + r * a.cols, w, codebook, total, a.vocab, a.cols);
    }
  });
}

}  // namespace star
#endif  // HWY_ONCE
