#pragma once

#include "core/dtype.h"

namespace star {

// p = softmax(logits) after top-k, then top-p; then one draw by the inverse of the cumulative sum in index order.
// top-k keeps logits ≥ the k-th largest (top_k ≤ 0 or ≥ vocab keeps all). top-p removes tokens whose cumulative probability
// from the smallest up is ≤ 1 − top_p (the most probable stays); top_p ≤ 0 keeps all.
// draw: the number of i with cumsum(p)[i] ≤ u·sum(p), cumulated in float64.
struct DrawArgs {
  Ref ids;            // optional i32 (rows)
  Ref probability;    // optional f32 (rows): p of the drawn token
  Ref probabilities;  // optional f32 (rows, vocab): p
  CRef logits;        // (rows, vocab)
  CRef uniform;       // f32 (rows) in [0, 1), needed for ids
  int64_t rows, vocab, top_k;
  float top_p;
};

// y = softmax((log-filtered logits·factor + noise) / temperature)·codebook: a soft mix of codebook rows.
// Logits are filtered by top_k and top_p as in DrawArgs first; noise is Gumbel noise made by the caller.
struct GumbelMixArgs {
  Ref y;               // (rows, cols)
  CRef logits, noise;  // (rows, vocab)
  CRef codebook;       // (vocab, cols)
  int64_t rows, vocab, cols, top_k;
  float top_p, factor, temperature;
};

}  // namespace star
