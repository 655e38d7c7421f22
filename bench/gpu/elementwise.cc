// Ops that read each element once and do little with it, at the width of the transformer and of the tokenizer.
#include "bench.h"

namespace star::bench {
namespace {

constexpr DType kType = DType::BF16;

// The gradient of GroupNorm with SiLU reads x and dy twice: for the sums, and for dx.
void add_group_norm_backward(Cases& cases, const Model& m) {
  const int64_t n = m.samples, hw = m.image * m.image, c = m.channels, groups = 32, count = n * hw * c;
  Fields fields;
  fields.add("n", n).add("hw", hw).add("c", c).add("groups", groups);
  cases.push_back({"group_norm silu backward " + m.name, "group_norm_backward", kType, fields,
                   5.0 * static_cast<double>(count) * size_of(kType), 0, [=](Arena& arena) -> std::function<void()> {
                     GroupNormArgs f{};
                     f.y = arena.empty(count, kType);
                     f.mean = arena.empty(n * groups);
                     f.rstd = arena.empty(n * groups);
                     f.x = arena.values(count, kType);
                     f.weight = arena.values(c, kType);
                     f.bias = arena.values(c, kType);
                     f.n = n;
                     f.hw = hw;
                     f.c = c;
                     f.groups = groups;
                     f.eps = 1e-6f;
                     f.silu = true;
                     arena.backend.group_norm(f);
                     GroupNormBackwardArgs a{};
                     a.dx = arena.empty(count, kType);
                     a.dweight = arena.empty(c, kType);
                     a.dbias = arena.empty(c, kType);
                     a.dy = arena.values(count, kType);
                     a.x = f.x;
                     a.mean = f.mean;
                     a.rstd = f.rstd;
                     a.weight = f.weight;
                     a.bias = f.bias;
                     a.n = n;
                     a.hw = hw;
                     a.c = c;
                     a.groups = groups;
                     a.silu = true;
                     return [a, &backend = arena.backend] { backend.group_norm_backward(a); };
                   }});
}

// The last scale's keys into a cache of all tokens, and the zeros that a cache begins with.
void add_movers(Cases& cases, const Model& m) {
  const int64_t outer = m.samples, inner = m.width(), count = m.last(), size = m.tokens();
  Fields fields;
  fields.add("outer", outer).add("inner", inner).add("count", count).add("size", size);
  cases.push_back({"copy_block cache " + m.name, "copy_block", kType, fields,
                   2.0 * static_cast<double>(outer * inner * count) * size_of(kType), 0,
                   [=](Arena& arena) -> std::function<void()> {
                     CopyBlockArgs a{};
                     a.y = arena.empty(outer * size * inner, kType);
                     a.x = arena.values(outer * count * inner, kType);
                     a.outer = outer;
                     a.inner = inner;
                     a.count = a.x_size = count;
                     a.y_size = size;
                     a.y_start = size - count;
                     return [a, &backend = arena.backend] { backend.copy_block(a); };
                   }});
  cases.push_back({"fill cache " + m.name, "fill", kType, fields, static_cast<double>(outer * inner * size) * size_of(kType), 0,
                   [=](Arena& arena) -> std::function<void()> {
                     const FillArgs a{arena.empty(outer * size * inner, kType), 0, outer * size * inner};
                     return [a, &backend = arena.backend] { backend.fill(a); };
                   }});
}

}  // namespace

void add_elementwise(Cases& cases, const Model& m) {
  const int64_t rows = m.samples * m.tokens(), cols = m.width(), count = rows * cols;
  const double bytes = static_cast<double>(count) * size_of(kType);
  Fields fields;
  fields.add("rows", rows).add("cols", cols);
  cases.push_back(
      {"affine residual " + m.name, "affine", kType, fields, 3 * bytes, 0, [=](Arena& arena) -> std::function<void()> {
         const AffineArgs a{arena.empty(count, kType), arena.values(count, kType), arena.values(count, kType), 1, 1, 0, count};
         return [a, &backend = arena.backend] { backend.affine(a); };
       }});
  cases.push_back(
      {"binary add bias " + m.name, "binary_bias", kType, fields, 2 * bytes, 0, [=](Arena& arena) -> std::function<void()> {
         const BinaryArgs a{
             arena.empty(count, kType), arena.values(count, kType), arena.values(cols, kType), BinaryOp::Add, rows, cols, 1};
         return [a, &backend = arena.backend] { backend.binary(a); };
       }});
  cases.push_back({"unary silu " + m.name, "unary_silu", kType, fields, 2 * bytes, 0, [=](Arena& arena) -> std::function<void()> {
                     const UnaryArgs a{arena.empty(count, kType), arena.values(count, kType), UnaryOp::Silu, 0, 0, count};
                     return [a, &backend = arena.backend] { backend.unary(a); };
                   }});
  cases.push_back(
      {"unary silu backward " + m.name, "unary_silu_backward", kType, fields, 3 * bytes, 0,
       [=](Arena& arena) -> std::function<void()> {
         const UnaryBackwardArgs a{
             arena.empty(count, kType), arena.values(count, kType), arena.values(count, kType), UnaryOp::Silu, 0, 0, count};
         return [a, &backend = arena.backend] { backend.unary_backward(a); };
       }});
  // What the gradient of a bias is.
  cases.push_back({"reduce rows " + m.name, "reduce_rows", kType, fields, bytes, 0, [=](Arena& arena) -> std::function<void()> {
                     const ReduceArgs a{arena.empty(cols, kType), arena.values(count, kType), ReduceOp::Sum, 1, rows, cols, 1};
                     return [a, &backend = arena.backend] { backend.reduce(a); };
                   }});
  cases.push_back({"softmax " + m.name, "softmax", kType, fields, 2 * bytes, 0, [=](Arena& arena) -> std::function<void()> {
                     const SoftmaxArgs a{arena.empty(count, kType), arena.values(count, kType), rows, cols, 1};
                     return [a, &backend = arena.backend] { backend.softmax(a); };
                   }});
  cases.push_back(
      {"softmax backward " + m.name, "softmax_backward", kType, fields, 3 * bytes, 0, [=](Arena& arena) -> std::function<void()> {
         const SoftmaxBackwardArgs a{
             arena.empty(count, kType), arena.values(count, kType), arena.values(count, kType), rows, cols, 1};
         return [a, &backend = arena.backend] { backend.softmax_backward(a); };
       }});
  add_group_norm_backward(cases, m);
  add_movers(cases, m);
}

}  // namespace star::bench
