// What is done once a step over all parameters of the transformer: the check for infinities, the norm of the gradients, AdamW.
#include <memory>

#include "bench.h"

namespace star::bench {
namespace {

// Elements of each parameter.
std::vector<int32_t> parameters(const Model& m) {
  constexpr int64_t kTextWidth = 1024;
  const int64_t c = m.width();
  std::vector<int64_t> counts{kTextWidth * c,
                              c,  // encoder_proj
                              c,
                              m.latent * c,
                              c,
                              static_cast<int64_t>(m.sides.size()) * c,  // pos_start, word_embed, lvl_embed
                              m.vocab * c,
                              m.vocab};  // head_logits
  for (int64_t i = 0; i < m.depth; ++i)
    counts.insert(counts.end(),
                  {m.depth, 3 * c * c, c, c, c * c, c,                  // attention: scale_mul, mat_qkv, biases, proj
                   m.depth, c * c, c, 2 * kTextWidth * c, c, c * c, c,  // cross-attention: the same with mat_q, mat_kv
                   4 * c * c, 4 * c, 4 * c * c, c});                    // ffn: fc1, fc2
  return {counts.begin(), counts.end()};
}

struct Tensors {
  std::vector<CRef> refs;
  std::vector<int64_t> counts;
};
Tensors gradients(Arena& arena, const std::vector<int32_t>& counts) {
  Tensors t;
  for (const int32_t count : counts) {
    t.refs.push_back(arena.values(count));
    t.counts.push_back(count);
  }
  return t;
}

}  // namespace

void add_optimizer(Cases& cases, const Model& m) {
  const std::vector<int32_t> counts = parameters(m);
  double total = 0;
  for (const int32_t count : counts) total += count;
  Fields fields;
  fields.add("counts", counts);
  cases.push_back({"finite " + m.name, "finite", DType::F32, fields, 4 * total, 0, [=](Arena& arena) -> std::function<void()> {
                     const Tensors t = gradients(arena, counts);
                     const FiniteArgs a{arena.empty(1, DType::I32), t.refs, t.counts};
                     return [a, &backend = arena.backend] { backend.finite(a); };
                   }});
  cases.push_back(
      {"global_norm " + m.name, "global_norm", DType::F32, fields, 4 * total, 0, [=](Arena& arena) -> std::function<void()> {
         const Tensors t = gradients(arena, counts);
         const GlobalNormArgs a{arena.empty(1), t.refs, t.counts};
         return [a, &backend = arena.backend] { backend.global_norm(a); };
       }});
  // The gradient is read; parameter, m and v are read and written.
  cases.push_back({"adamw " + m.name, "adamw", DType::F32, fields, 28 * total, 0, [=](Arena& arena) -> std::function<void()> {
                     AdamWArgs a{};
                     for (const int32_t count : counts)
                       a.tensors.push_back({arena.values(count), arena.values(count), arena.values(count, DType::F32, 0, 1),
                                            arena.values(count), count, 0.05f});
                     a.norm = arena.values(1, DType::F32, 1, 2);
                     a.max_norm = 2;
                     a.grad_scale = 1;
                     a.lr = 1e-4f;
                     a.beta1 = 0.9f;
                     a.beta2 = 0.95f;
                     a.eps = 1e-8f;
                     a.step = 10;
                     return [a, &backend = arena.backend] { backend.adamw(a); };
                   }});
}

}  // namespace star::bench
