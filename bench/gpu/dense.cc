// Matrix products of a transformer block, and what moves or makes values one by one.
#include "bench.h"

namespace star::bench {
namespace {

constexpr DType kType = DType::BF16;

struct Product {
  const char *name, *op;
  int64_t m, n, k;
  bool trans_b, bias, gelu;
};

void add_product(Cases& cases, const Model& model, const Product& p) {
  const double a_count = static_cast<double>(p.m * p.k), b_count = static_cast<double>(p.n * p.k),
               c_count = static_cast<double>(p.m * p.n);
  Fields fields;
  fields.add("m", p.m).add("n", p.n).add("k", p.k);
  cases.push_back({std::string("matmul ") + p.name + " " + model.name, p.op, kType, fields,
                   (a_count + b_count + (p.gelu ? 2 : 1) * c_count) * size_of(kType), 2 * a_count * static_cast<double>(p.n),
                   [p](Arena& arena) -> std::function<void()> {
                     MatmulArgs a{};
                     a.c = arena.empty(p.m * p.n, kType);
                     if (p.gelu) a.pre_activation = arena.empty(p.m * p.n, kType);
                     a.a = arena.values(p.m * p.k, kType);
                     a.b = arena.values(p.n * p.k, kType);
                     if (p.bias) a.bias = arena.values(p.n, kType);
                     a.batch = 1;
                     a.m = p.m;
                     a.n = p.n;
                     a.k = p.k;
                     a.trans_b = p.trans_b;
                     a.activation = p.gelu ? Activation::Gelu : Activation::None;
                     return [a, &backend = arena.backend] { backend.matmul(a); };
                   }});
}

// The gradients that carry an epilogue: of fc2's input through gelu, and of fc1's weight with its bias.
void add_linear_backward(Cases& cases, const Model& m) {
  const int64_t rows = m.samples * m.tokens(), c = m.width(), hidden = 4 * c;
  const auto r = static_cast<double>(rows), w = static_cast<double>(c), h = static_cast<double>(hidden);
  Fields fields;
  fields.add("rows", rows).add("c", c).add("hidden", hidden);
  cases.push_back({"linear fc2 data gradient gelu " + m.name, "linear_data_gelu", kType, fields,
                   (r * w + w * h + 2 * r * h) * size_of(kType), 2 * r * w * h, [=](Arena& arena) -> std::function<void()> {
                     const LinearBackwardInputArgs a{arena.empty(rows * hidden, kType),
                                                     arena.values(rows * c, kType),
                                                     arena.values(c * hidden, kType),
                                                     arena.values(rows * hidden, kType),
                                                     rows,
                                                     c,
                                                     hidden};
                     return [a, &backend = arena.backend] { backend.linear_backward_input(a); };
                   }});
  cases.push_back({"linear fc1 weight gradient bias " + m.name, "linear_weight_bias", kType, fields,
                   (r * h + r * w + w * h + h) * size_of(kType), 2 * r * w * h, [=](Arena& arena) -> std::function<void()> {
                     const LinearBackwardWeightArgs a{arena.empty(hidden * c, kType),
                                                      arena.empty(hidden, kType),
                                                      arena.values(rows * hidden, kType),
                                                      arena.values(rows * c, kType),
                                                      rows,
                                                      hidden,
                                                      c};
                     return [a, &backend = arena.backend] { backend.linear_backward_weight(a); };
                   }});
}

}  // namespace

void add_dense(Cases& cases, const Model& m) {
  const int64_t rows = m.samples * m.tokens(), c = m.width(), count = rows * c;
  add_product(cases, m, {"qkv bias", "matmul_bias", rows, 3 * c, c, true, true, false});
  add_product(cases, m, {"fc1 bias gelu", "matmul_gelu", rows, 4 * c, c, true, true, true});
  add_product(cases, m, {"fc1 data gradient", "matmul_data", rows, c, 4 * c, false, false, false});
  add_linear_backward(cases, m);

  const auto n = static_cast<double>(count);
  Fields flat;
  flat.add("count", count);
  cases.push_back({"cast f32 bf16 " + m.name, "cast", DType::BF16, flat, 6 * n, 0, [=](Arena& arena) -> std::function<void()> {
                     const CastArgs a{arena.empty(count, DType::BF16), arena.values(count), count};
                     return [a, &backend = arena.backend] { backend.cast(a); };
                   }});
  cases.push_back({"cast bf16 f32 " + m.name, "cast", DType::F32, flat, 6 * n, 0, [=](Arena& arena) -> std::function<void()> {
                     const CastArgs a{arena.empty(count), arena.values(count, DType::BF16), count};
                     return [a, &backend = arena.backend] { backend.cast(a); };
                   }});
  cases.push_back(
      {"random normal " + m.name, "random_normal", DType::F32, flat, 4 * n, 0, [=](Arena& arena) -> std::function<void()> {
         const RandomArgs a{arena.empty(count), RandomKind::Normal, 0, 1, 7, 0, count};
         return [a, &backend = arena.backend] { backend.random(a); };
       }});
  Fields permute;
  permute.add("n", m.samples).add("hw", m.image * m.image).add("c", m.channels);
  cases.push_back({"permute NHWC NCHW " + m.name, "permute", kType, permute,
                   2.0 * static_cast<double>(m.samples * m.image * m.image * m.channels) * size_of(kType), 0,
                   [=](Arena& arena) -> std::function<void()> {
                     const int64_t elements = m.samples * m.image * m.image * m.channels;
                     PermuteArgs a{};
                     a.y = arena.empty(elements, kType);
                     a.x = arena.values(elements, kType);
                     a.dims = {m.samples, m.image * m.image, m.channels};
                     a.perm = {0, 2, 1};
                     return [a, &backend = arena.backend] { backend.permute(a); };
                   }});
}

}  // namespace star::bench
