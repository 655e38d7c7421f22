// AdamW over many tensors in few launches.
#include <cmath>
#include <vector>

#include "cuda/cuda_backend.h"
#include "cuda/device/rows.cuh"
#include "cuda/tensor_table.h"

namespace star {

namespace {

struct AdamWEntry {
  float *param, *m, *v;
  TensorEntry grad;
  int64_t count;
  float decay;          // 1 − lr·weight decay
  bool vectors;         // may be read and written 16 bytes at a time
  DType rounded_dtype;  // f16 or bf16
  void* rounded;        // nullptr: nothing is to be rounded
};
using AdamWTable = TensorTable<64, AdamWEntry>;

// What is the same for all elements.
struct AdamWFactors {
  const float* norm;  // nullptr turns clipping off
  float max_norm, grad_scale, beta1, rest1, beta2, rest2;
  float step_size;     // lr / (1 − β1^t)
  float inverse_root;  // 1 / √(1 − β2^t)
  float eps;
};

constexpr int64_t kAdamWPiece = 4096;

template <class T, int n>
__device__ __forceinline__ void adamw_step(const AdamWEntry& e, const AdamWFactors& f, float clip, int64_t i) {
  Floats<n> p = load_floats<n>(e.param + i), m = load_floats<n>(e.m + i), v = load_floats<n>(e.v + i);
  const Floats<n> grad = load_floats<n>(static_cast<const T*>(e.grad.data) + i);
  for (int j = 0; j < n; ++j) {
    const float g = grad.v[j] * clip;
    m.v[j] = f.beta1 * m.v[j] + f.rest1 * g;
    v.v[j] = f.beta2 * v.v[j] + f.rest2 * g * g;
    p.v[j] = p.v[j] * e.decay - f.step_size * m.v[j] / (sqrtf(v.v[j]) * f.inverse_root + f.eps);
  }
  store_floats<n>(e.param + i, p);
  store_floats<n>(e.m + i, m);
  store_floats<n>(e.v + i, v);
  if (!e.rounded) return;
  if (e.rounded_dtype == DType::F16)
    store_floats<n>(static_cast<f16*>(e.rounded) + i, p);
  else
    store_floats<n>(static_cast<bf16*>(e.rounded) + i, p);
}

__global__ __launch_bounds__(kTableThreads) void adamw_kernel(AdamWTable table, AdamWFactors f) {
  const TensorPiece piece = find_piece(table, kAdamWPiece);
  const AdamWEntry e = table.entries[piece.tensor];
  const float clip = f.grad_scale * (f.norm ? fminf(1.0f, f.max_norm / (*f.norm * f.grad_scale + 1e-6f)) : 1.0f);
  with_type(e.grad.dtype, [&](auto tag) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(tag)>>;
    each_element<4>(piece, e.vectors, [&](int64_t i, auto n) { adamw_step<T, decltype(n)::value>(e, f, clip, i); });
  });
}

}  // namespace

// ----------------------------------------------------------------------------------------------------------------------------

void CudaBackend::adamw(const AdamWArgs& a) {
  const double step = static_cast<double>(a.step);
  const double correction1 = 1.0 - std::pow(static_cast<double>(a.beta1), step);
  const double correction2 = 1.0 - std::pow(static_cast<double>(a.beta2), step);
  const AdamWFactors factors{a.norm ? a.norm.f32() : nullptr,
                             a.max_norm,
                             a.grad_scale,
                             a.beta1,
                             1.0f - a.beta1,
                             a.beta2,
                             1.0f - a.beta2,
                             static_cast<float>(a.lr / correction1),
                             static_cast<float>(1.0 / std::sqrt(correction2)),
                             a.eps};
  std::vector<AdamWEntry> entries;
  for (const AdamWTensor& t : a.tensors) {
    float *param = t.param.f32(), *m = t.m.f32(), *v = t.v.f32();
    const TensorEntry grad(t.grad, t.count, "adamw");
    const double decay = 1.0 - static_cast<double>(a.lr) * t.weight_decay;
    const auto* const rounded = static_cast<const char*>(t.rounded.data);
    entries.push_back({param, m, v, grad, t.count, static_cast<float>(decay), grad.vectors && aligned(param, m, v, rounded),
                       t.rounded.dtype, t.rounded.data});
  }
  for_tables<AdamWTable>(entries, kAdamWPiece, [&](const AdamWTable& table, unsigned blocks) {
    launch("adamw", adamw_kernel, {dim3(blocks), dim3(kTableThreads)}, stream(), table, factors);
  });
}

}  // namespace star
