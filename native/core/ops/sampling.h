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

// One step of stable sampling. In each row the `fix` positions of highest score (the lowest position first on a tie) are chosen
// among the open ones (known = 0), or with `among_all` among all; those of them that are open take the drawn token and become
// known. With fewer positions to choose from, all are chosen.
struct UnmaskArgs {
  Ref ids, known;  // i32, u8 (rows, length), changed in place
  CRef drawn;      // i32 (rows, length)
  CRef score;      // f32 (rows, length); not a number counts as −∞
  int64_t rows, length, fix;
  bool among_all;
};

}  // namespace star
