// Ops on tokens of the vocabulary: embedding, nearest row of the codebook, drawing, soft mixing, and cross-entropy.
#include "bench.h"

namespace star::bench {
namespace {

constexpr DType kType = DType::BF16;
constexpr int64_t kTopK = 600;
constexpr float kTopP = 0.8f;

void add_lookup(Cases& cases, const Model& m) {
  const int64_t count = m.samples * m.tokens(), cols = m.width(), vocab = m.vocab;
  const double bytes = static_cast<double>(count * cols) * size_of(kType);
  Fields embedding;
  embedding.add("count", count).add("rows", vocab).add("cols", cols);
  cases.push_back(
      {"embedding " + m.name, "embedding", kType, embedding, 2 * bytes, 0, [=](Arena& arena) -> std::function<void()> {
         const EmbeddingArgs a{arena.empty(count * cols, kType),
                               arena.values(vocab * cols, kType),
                               arena.indices(count, vocab),
                               count,
                               vocab,
                               cols};
         return [a, &backend = arena.backend] { backend.embedding(a); };
       }});
  cases.push_back({"embedding backward " + m.name, "embedding_backward", kType, embedding,
                   bytes + static_cast<double>(vocab * cols) * size_of(kType), 0, [=](Arena& arena) -> std::function<void()> {
                     const EmbeddingBackwardArgs a{arena.empty(vocab * cols, kType),
                                                   arena.values(count * cols, kType),
                                                   arena.indices(count, vocab),
                                                   count,
                                                   vocab,
                                                   cols};
                     return [a, &backend = arena.backend] { backend.embedding_backward(a); };
                   }});
  const int64_t latent = m.latent;
  Fields nearest;
  nearest.add("rows", count).add("cols", latent).add("vocab", vocab);
  // The tokenizer works in f32.
  cases.push_back({"nearest_row " + m.name, "nearest_row", DType::F32, nearest,
                   4.0 * static_cast<double>(count * latent + vocab * latent + count),
                   2.0 * static_cast<double>(count) * static_cast<double>(vocab * latent),
                   [=](Arena& arena) -> std::function<void()> {
                     const NearestRowArgs a{arena.empty(count, DType::I32),
                                            {},
                                            arena.values(count * latent),
                                            arena.values(vocab * latent),
                                            count,
                                            latent,
                                            vocab};
                     return [a, &backend = arena.backend] { backend.nearest_row(a); };
                   }});
}

void add_sampling(Cases& cases, const Model& m) {
  const int64_t rows = m.samples * m.last(), vocab = m.vocab, cols = m.latent;
  const double logits = static_cast<double>(rows * vocab) * size_of(kType);
  Fields fields;
  fields.add("rows", rows).add("vocab", vocab).add("top_k", kTopK).add("top_p", kTopP);
  cases.push_back({"draw " + m.name, "draw", kType, fields, logits + 12.0 * static_cast<double>(rows), 0,
                   [=](Arena& arena) -> std::function<void()> {
                     DrawArgs a{};
                     a.ids = arena.empty(rows, DType::I32);
                     a.probability = arena.empty(rows);
                     a.logits = arena.values(rows * vocab, kType, -8, 8);
                     a.uniform = arena.values(rows, DType::F32, 0, 1);
                     a.rows = rows;
                     a.vocab = vocab;
                     a.top_k = kTopK;
                     a.top_p = kTopP;
                     return [a, &backend = arena.backend] { backend.draw(a); };
                   }});
  cases.push_back(
      {"gumbel_mix " + m.name, "gumbel_mix", kType, Fields(fields).add("cols", cols),
       logits + 4.0 * static_cast<double>(rows * vocab) + static_cast<double>(rows * cols + vocab * cols) * size_of(kType),
       2.0 * static_cast<double>(rows) * static_cast<double>(vocab * cols), [=](Arena& arena) -> std::function<void()> {
         GumbelMixArgs a{};
         a.y = arena.empty(rows * cols, kType);
         a.logits = arena.values(rows * vocab, kType, -8, 8);
         const Ref noise = arena.empty(rows * vocab);
         arena.backend.random({noise, RandomKind::Gumbel, 0, 1, 7, 0, rows * vocab});
         a.noise = noise;
         a.codebook = arena.values(vocab * cols, kType);
         a.rows = rows;
         a.vocab = vocab;
         a.cols = cols;
         a.top_k = kTopK;
         a.top_p = kTopP;
         a.factor = 1.5f;
         a.temperature = 0.2f;
         return [a, &backend = arena.backend] { backend.gumbel_mix(a); };
       }});
}

// A step of stable sampling: half of the last scale's positions, chosen among all so that every repeat has the same to do.
void add_unmask(Cases& cases, const Model& m) {
  const int64_t rows = m.samples, length = m.last();
  Fields fields;
  fields.add("rows", rows).add("length", length);
  cases.push_back({"unmask " + m.name, "unmask", DType::F32, fields, 5.0 * static_cast<double>(rows * length), 0,
                   [=](Arena& arena) -> std::function<void()> {
                     UnmaskArgs a{};
                     a.ids = arena.empty(rows * length, DType::I32);
                     a.known = arena.empty(rows * length, DType::U8);
                     arena.backend.fill({a.known, 0, rows * length});
                     a.drawn = arena.indices(rows * length, m.vocab);
                     a.score = arena.values(rows * length);
                     a.rows = rows;
                     a.length = length;
                     a.fix = length / 2;
                     a.among_all = true;
                     return [a, &backend = arena.backend] { backend.unmask(a); };
                   }});
}

// A quarter of the last scale's tokens by score, their rows taken out and put back, as the preset `turbo` does in each branch.
void add_rows(Cases& cases, const Model& m) {
  const int64_t rows = m.samples, length = m.last(), keep = std::max<int64_t>(1, length / 4), cols = m.width();
  Fields fields;
  fields.add("rows", rows).add("length", length).add("keep", keep);
  Fields distances;
  distances.add("batch", rows).add("length", length).add("cols", cols);
  cases.push_back({"row_distances " + m.name, "row_distances", kType, distances,
                   static_cast<double>(rows * length * cols) * size_of(kType), 0, [=](Arena& arena) -> std::function<void()> {
                     const RowDistancesArgs a{arena.empty(rows * length),
                                              arena.values(rows * length * cols, kType),
                                              arena.values(rows * cols, kType),
                                              rows,
                                              length,
                                              cols};
                     return [a, &backend = arena.backend] { backend.row_distances(a); };
                   }});
  cases.push_back(
      {"top_positions " + m.name, "top_positions", DType::F32, fields, 4.0 * static_cast<double>(rows * (length + keep)), 0,
       [=](Arena& arena) -> std::function<void()> {
         const TopPositionsArgs a{arena.empty(rows * keep, DType::I32), arena.values(rows * length), rows, length, keep};
         return [a, &backend = arena.backend] { backend.top_positions(a); };
       }});
  const double moved = 2.0 * static_cast<double>(rows * keep * cols) * size_of(kType);
  const auto positions = [=](Arena& arena) {
    const Ref chosen = arena.empty(rows * keep, DType::I32);
    arena.backend.top_positions({chosen, arena.values(rows * length), rows, length, keep});
    return chosen;
  };
  fields.add("cols", cols);
  cases.push_back({"gather_rows " + m.name, "gather_rows", kType, fields, moved, 0, [=](Arena& arena) -> std::function<void()> {
                     const GatherRowsArgs a{arena.empty(rows * keep * cols, kType),
                                            arena.values(rows * length * cols, kType),
                                            positions(arena),
                                            rows,
                                            length,
                                            keep,
                                            cols};
                     return [a, &backend = arena.backend] { backend.gather_rows(a); };
                   }});
  cases.push_back({"scatter_rows " + m.name, "scatter_rows", kType, fields, moved, 0, [=](Arena& arena) -> std::function<void()> {
                     const ScatterRowsArgs a{arena.empty(rows * length * cols, kType),
                                             arena.values(rows * keep * cols, kType),
                                             positions(arena),
                                             rows,
                                             length,
                                             keep,
                                             cols};
                     return [a, &backend = arena.backend] { backend.scatter_rows(a); };
                   }});
}

void add_loss(Cases& cases, const Model& m) {
  const int64_t rows = m.samples * m.tokens(), vocab = m.vocab;
  const double logits = static_cast<double>(rows * vocab) * size_of(kType), row = static_cast<double>(rows);
  Fields fields;
  fields.add("rows", rows).add("vocab", vocab);
  const auto forward = [=](Arena& arena) {
    CrossEntropyArgs a{};
    a.losses = arena.empty(rows);
    a.lse = arena.empty(rows);
    a.argmax = arena.empty(rows, DType::I32);
    a.logits = arena.values(rows * vocab, kType, -8, 8);
    a.targets = arena.indices(rows, vocab);
    a.rows = rows;
    a.vocab = vocab;
    return a;
  };
  cases.push_back({"cross_entropy " + m.name, "cross_entropy", kType, fields, logits + 16 * row, 0,
                   [=](Arena& arena) -> std::function<void()> {
                     return [a = forward(arena), &backend = arena.backend] { backend.cross_entropy(a); };
                   }});
  cases.push_back({"cross_entropy backward " + m.name, "cross_entropy_backward", kType, fields, 2 * logits + 12 * row, 0,
                   [=](Arena& arena) -> std::function<void()> {
                     const CrossEntropyArgs f = forward(arena);
                     arena.backend.cross_entropy(f);
                     const CrossEntropyBackwardArgs a{
                         arena.empty(rows * vocab, kType), arena.values(rows), f.logits, f.lse, f.targets, rows, vocab, 0};
                     return [a, &backend = arena.backend] { backend.cross_entropy_backward(a); };
                   }});
}

}  // namespace

void add_tokens(Cases& cases, const Model& m) {
  add_lookup(cases, m);
  add_sampling(cases, m);
  add_unmask(cases, m);
  add_rows(cases, m);
  add_loss(cases, m);
}

}  // namespace star::bench
