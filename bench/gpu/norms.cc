// LayerNorm with modulation (one row of factors a token of a scale, here one for each token), and GroupNorm with SiLU.
#include "bench.h"

namespace star::bench {
namespace {

constexpr DType kType = DType::BF16;

void add_layer_norm(Cases& cases, const Model& m) {
  const int64_t mod_rows = m.tokens(), rows = m.samples * mod_rows, cols = m.width();
  const double bytes = static_cast<double>(rows * cols) * size_of(kType),
               factors = static_cast<double>(mod_rows * cols) * size_of(kType);
  Fields fields;
  fields.add("rows", rows).add("cols", cols).add("mod_rows", mod_rows);
  const auto forward = [=](Arena& arena) {
    LayerNormArgs a{};
    a.y = arena.empty(rows * cols, kType);
    a.mean = arena.empty(rows);
    a.rstd = arena.empty(rows);
    a.x = arena.values(rows * cols, kType);
    a.scale = arena.values(mod_rows * cols, kType);
    a.shift = arena.values(mod_rows * cols, kType);
    a.rows = rows;
    a.cols = cols;
    a.mod_rows = mod_rows;
    a.eps = 1e-6f;
    return a;
  };
  cases.push_back({"layer_norm " + m.name, "layer_norm", kType, fields, 2 * bytes + 2 * factors + 8.0 * static_cast<double>(rows),
                   0, [=](Arena& arena) -> std::function<void()> {
                     return [a = forward(arena), &backend = arena.backend] { backend.layer_norm(a); };
                   }});
  cases.push_back({"layer_norm backward " + m.name, "layer_norm_backward", kType, fields,
                   3 * bytes + 3 * factors + 8.0 * static_cast<double>(rows), 0, [=](Arena& arena) -> std::function<void()> {
                     const LayerNormArgs f = forward(arena);
                     arena.backend.layer_norm(f);
                     LayerNormBackwardArgs a{};
                     a.dx = arena.empty(rows * cols, kType);
                     a.dscale = arena.empty(mod_rows * cols, kType);
                     a.dshift = arena.empty(mod_rows * cols, kType);
                     a.dy = arena.values(rows * cols, kType);
                     a.x = f.x;
                     a.mean = f.mean;
                     a.rstd = f.rstd;
                     a.scale = f.scale;
                     a.rows = rows;
                     a.cols = cols;
                     a.mod_rows = mod_rows;
                     return [a, &backend = arena.backend] { backend.layer_norm_backward(a); };
                   }});
}

void add_group_norm(Cases& cases, const Model& m) {
  const int64_t n = m.samples, hw = m.image * m.image, c = m.channels, groups = 32;
  const double bytes = static_cast<double>(n * hw * c) * size_of(kType);
  Fields fields;
  fields.add("n", n).add("hw", hw).add("c", c).add("groups", groups);
  // The statistics need all of x before the first of y can be written: what does not fit the cache is read twice.
  cases.push_back(
      {"group_norm silu " + m.name, "group_norm", kType, fields, 3 * bytes, 0, [=](Arena& arena) -> std::function<void()> {
         GroupNormArgs a{};
         a.y = arena.empty(n * hw * c, kType);
         a.mean = arena.empty(n * groups);
         a.rstd = arena.empty(n * groups);
         a.x = arena.values(n * hw * c, kType);
         a.weight = arena.values(c, kType);
         a.bias = arena.values(c, kType);
         a.n = n;
         a.hw = hw;
         a.c = c;
         a.groups = groups;
         a.eps = 1e-6f;
         a.silu = true;
         return [a, &backend = arena.backend] { backend.group_norm(a); };
       }});
}

}  // namespace

void add_norms(Cases& cases, const Model& m) {
  add_layer_norm(cases, m);
  add_group_norm(cases, m);
}

}  // namespace star::bench
