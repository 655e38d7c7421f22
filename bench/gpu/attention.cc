// Attention in training (all scales at once, a query sees its own and earlier scales), in sampling (the last scale on a cache)
// and on the text (padding masked out), and the heads in front of it.
#include "bench.h"

namespace star::bench {
namespace {

constexpr DType kType = DType::BF16;
constexpr int64_t kHeadDim = 64;

struct Sizes {
  int64_t batch, heads, lq, lk, capacity;
  std::vector<int32_t> sides;  // empty: no key limit
  std::vector<int32_t> limits;
  double pairs() const {  // of query and key, in one head of one sample
    if (limits.empty()) return static_cast<double>(lq) * static_cast<double>(lk);
    double sum = 0;
    for (const int32_t limit : limits) sum += limit;
    return sum;
  }
  double query_bytes() const { return static_cast<double>(batch * lq * heads * kHeadDim) * size_of(kType); }
  double key_bytes() const { return static_cast<double>(batch * lk * heads * kHeadDim) * size_of(kType); }
  double lse_bytes() const { return 4.0 * static_cast<double>(batch * heads * lq); }
  double all_pairs() const { return static_cast<double>(batch * heads * kHeadDim) * pairs(); }
  Fields fields() const {
    Fields f;
    f.add("batch", batch).add("heads", heads).add("head_dim", kHeadDim).add("lq", lq).add("lk", lk);
    return f.add("capacity", capacity).add("sides", sides);
  }
};

AttentionArgs forward_args(Arena& arena, const Sizes& s, bool lse, bool masked) {
  AttentionArgs a{};
  const int64_t queries = s.batch * s.lq * s.heads * kHeadDim, keys = s.batch * s.capacity * s.heads * kHeadDim;
  a.out = arena.empty(queries, kType);
  if (lse) a.lse = arena.empty(s.batch * s.heads * s.lq);
  a.q = arena.values(queries, kType);
  a.k = arena.values(keys, kType);
  a.v = arena.values(keys, kType);
  if (!s.limits.empty()) a.key_limit = arena.upload(s.limits);
  if (masked) {  // the second half of a caption is padding
    std::vector<uint8_t> mask(static_cast<size_t>(s.batch * s.lk));
    for (size_t i = 0; i < mask.size(); ++i) mask[i] = static_cast<int64_t>(i) % s.lk < (s.lk + 1) / 2;
    const Ref on_device = arena.empty(s.batch * s.lk, DType::U8);
    arena.backend.copy_from_host(on_device.data, mask.data(), mask.size());
    a.key_mask = on_device;
  }
  a.batch = s.batch;
  a.heads = s.heads;
  a.head_dim = kHeadDim;
  a.lq = s.lq;
  a.lk = s.lk;
  a.kv_capacity = s.capacity;
  a.scale = 0.125f;
  return a;
}

void add_forward(Cases& cases, const std::string& name, const Sizes& s, bool lse, bool masked) {
  // q, k and v are read, out is written; two products of 2·64 operations a pair.
  cases.push_back({name, "attention", kType, s.fields().add("masked", masked),
                   2 * s.query_bytes() + 2 * s.key_bytes() + (lse ? s.lse_bytes() : 0), 4 * s.all_pairs(),
                   [s, lse, masked](Arena& arena) -> std::function<void()> {
                     const AttentionArgs a = forward_args(arena, s, lse, masked);
                     return [a, &backend = arena.backend] { backend.attention(a); };
                   }});
}

void add_backward(Cases& cases, const std::string& name, const Sizes& s) {
  // q, out, dout, k and v are read, dq, dk and dv written; five products a pair.
  cases.push_back({name, "attention_backward", kType, s.fields().add("masked", 0.0),
                   4 * s.query_bytes() + 4 * s.key_bytes() + s.lse_bytes(), 10 * s.all_pairs(),
                   [s](Arena& arena) -> std::function<void()> {
                     const AttentionArgs f = forward_args(arena, s, true, false);
                     arena.backend.attention(f);
                     const int64_t queries = s.batch * s.lq * s.heads * kHeadDim, keys = s.batch * s.lk * s.heads * kHeadDim;
                     AttentionBackwardArgs a{};
                     a.dq = arena.empty(queries, kType);
                     a.dk = arena.empty(keys, kType);
                     a.dv = arena.empty(keys, kType);
                     a.dout = arena.values(queries, kType);
                     a.out = f.out;
                     a.lse = f.lse;
                     a.q = f.q;
                     a.k = f.k;
                     a.v = f.v;
                     a.key_limit = f.key_limit;
                     a.batch = s.batch;
                     a.heads = s.heads;
                     a.head_dim = kHeadDim;
                     a.lq = s.lq;
                     a.lk = s.lk;
                     a.scale = f.scale;
                     return [a, &backend = arena.backend] { backend.attention_backward(a); };
                   }});
}

// The queries of the packed projection: normalized, scaled and rotated.
void add_heads(Cases& cases, const Model& m) {
  const int64_t batch = m.samples, length = m.tokens(), heads = m.depth, count = batch * length * heads * kHeadDim;
  const double bytes = static_cast<double>(count) * size_of(kType), rope = 4.0 * static_cast<double>(length * kHeadDim);
  Fields fields;
  fields.add("batch", batch).add("length", length).add("heads", heads).add("head_dim", kHeadDim).add("parts", 3);
  cases.push_back({"heads " + m.name, "heads", kType, fields, 2 * bytes + rope, 0, [=](Arena& arena) -> std::function<void()> {
                     HeadsArgs a{};
                     a.out = arena.empty(count, kType);
                     a.x = arena.values(3 * count, kType);
                     a.log_scale = arena.values(heads);
                     a.rope = arena.values(length * kHeadDim);
                     a.batch = batch;
                     a.length = a.out_capacity = length;
                     a.parts = 3;
                     a.heads = heads;
                     a.head_dim = kHeadDim;
                     a.l2_norm = true;
                     return [a, &backend = arena.backend] { backend.heads(a); };
                   }});
  cases.push_back({"heads backward " + m.name, "heads_backward", kType, fields, 3 * bytes + rope, 0,
                   [=](Arena& arena) -> std::function<void()> {
                     HeadsBackwardArgs a{};
                     a.dx = arena.empty(3 * count, kType);
                     a.dlog_scale = arena.empty(heads);
                     a.dout = arena.values(count, kType);
                     a.x = arena.values(3 * count, kType);
                     a.log_scale = arena.values(heads);
                     a.rope = arena.values(length * kHeadDim);
                     a.batch = batch;
                     a.length = length;
                     a.parts = 3;
                     a.heads = heads;
                     a.head_dim = kHeadDim;
                     a.l2_norm = true;
                     return [a, &backend = arena.backend] { backend.heads_backward(a); };
                   }});
}

}  // namespace

void add_attention(Cases& cases, const Model& m) {
  const int64_t tokens = m.tokens();
  const Sizes train{m.samples, m.depth, tokens, tokens, tokens, m.sides, m.limits()};
  add_forward(cases, "attention scales " + m.name, train, true, false);
  add_backward(cases, "attention scales backward " + m.name, train);
  // With guidance every prompt is there twice.
  add_forward(cases, "attention cache " + m.name, {2 * m.samples, m.depth, m.last(), tokens, tokens, {}, {}}, false, false);
  add_forward(cases, "attention text " + m.name, {m.samples, m.depth, tokens, m.text, m.text, {}, {}}, true, true);
  add_heads(cases, m);
}

}  // namespace star::bench
