// Drawing tokens from rows of logits after top-k and top-p: one block a row, nothing sorted.
#include "cuda/cuda_backend.h"
#include "cuda/device/token_filter.cuh"
#include "cuda/dispatch.h"
#include "cuda/elementwise.h"
#include "cuda/token_filter.h"

namespace star {

namespace {

struct DrawOutputs {
  int32_t* ids;          // (rows) or nullptr
  float* probability;    // (rows) or nullptr
  float* probabilities;  // (rows, vocab) or nullptr
};

// Probabilities are counted in whole 2^-60 for the draw: the cumulative sum is exact, where float64 would round.
constexpr float kProbabilityUnit = 0x1p60f;

template <class T, bool staged, int n>
__global__ void __launch_bounds__(kSelectThreads)
    draw_kernel(DrawOutputs out, const T* logits, const float* uniform, TokenFilter filter, int* fault) {
  SelectSpace* space;
  float top;
  const int64_t r = blockIdx.x, vocab = filter.vocab;
  const LogitRow<T, staged> row = open_row<T, staged, n>(space, logits + r * vocab, vocab, top);
  float* probabilities = out.probabilities ? out.probabilities + r * vocab : nullptr;
  if (!finite(top)) {
    if (probabilities)
      for (int64_t v = threadIdx.x; v < vocab; v += kSelectThreads) probabilities[v] = 0.0f;
    if (threadIdx.x == 0) {
      atomicMax(fault, kDrawLogits);
      if (out.ids) out.ids[r] = 0;
      if (out.ids && out.probability) out.probability[r] = 0.0f;
    }
    return;
  }
  const TokenCut cut = filter_tokens(*space, row, filter, top);

  // In shared memory the logits give way to e^(z − max), then to p. Every thread reads back what it wrote itself.
  const auto exp_of = [&](int64_t v) { return cut.keeps(row(v), v) ? expf(row(v) - top) : 0.0f; };
  uint64_t own = 0;
  for (int64_t v = threadIdx.x; v < vocab; v += kSelectThreads) {
    const float e = exp_of(v);
    if constexpr (staged) row.shared[v] = e;
    own += mass_of(e, filter.mass_unit);
  }
  const float sum = static_cast<float>(block_total(*space, own)) / filter.mass_unit;
  own = 0;
  for (int64_t v = threadIdx.x; v < vocab; v += kSelectThreads) {
    float p;
    if constexpr (staged)
      row.shared[v] = p = row.shared[v] / sum;
    else
      p = exp_of(v) / sum;
    if (probabilities) probabilities[v] = p;
    own += mass_of(p, kProbabilityUnit);
  }
  if (!out.ids) return;

  const auto probability = [&](int64_t v) {
    if constexpr (staged)
      return row.shared[v];
    else
      return exp_of(v) / sum;
  };
  const uint64_t all = block_total(*space, own);
  const float u = uniform[r];
  if (!(u < 1.0f) && threadIdx.x == 0) atomicMax(fault, kDrawUniform);
  uint64_t target = u > 0.0f && u < 1.0f ? static_cast<uint64_t>(static_cast<double>(u) * static_cast<double>(all)) : 0;
  if (target >= all) target = all - 1;  // u·Σ p was rounded up to Σ p
  const auto index = [](int64_t v) { return static_cast<uint32_t>(v); };
  const auto weight = [&](int64_t v) { return mass_of(probability(v), kProbabilityUnit); };
  const uint32_t id = select(*space, vocab, filter.index_bits, index, weight, target).key;
  if (threadIdx.x == 0) {
    out.ids[r] = static_cast<int32_t>(id);
    if (out.probability) out.probability[r] = probability(id);
  }
}

// ---------------------------------------------------------------------------------------------------------------------------

}  // namespace

void CudaBackend::draw(const DrawArgs& a) {
  const DrawOutputs out{a.ids ? a.ids.i32() : nullptr, a.probability ? a.probability.f32() : nullptr,
                        a.probabilities ? a.probabilities.f32() : nullptr};
  const float* uniform = a.ids ? a.uniform.f32() : nullptr;
  dispatch_float(a.logits.dtype, "draw", [&](auto tag) {
    using T = decltype(tag);
    const T* logits = as<T>(a.logits, "draw");
    with_row<T>(logits, a.vocab, [&](auto staged, auto n) {
      launch("draw", draw_kernel<T, staged, n>, filter_shape<staged>(a.rows, a.vocab), stream(), out, logits, uniform,
             token_filter(a.vocab, a.top_k, a.top_p), fault());
    });
  });
}

}  // namespace star
