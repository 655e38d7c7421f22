#pragma once

#include "core/dtype.h"

namespace star {

// losses[i] = lse_i − (1 − ls)·z_i[t_i] − ls·mean_v z_i[v], with z the logits, t the targets and ls the label smoothing.
struct CrossEntropyArgs {
  Ref losses;    // f32 (rows)
  Ref lse;       // f32 (rows): log Σ exp z, the extra class among them
  Ref argmax;    // optional i32 (rows): the predicted token
  CRef logits;   // (rows, vocab)
  CRef targets;  // i32 (rows)
  int64_t rows, vocab;
  float label_smoothing;
  bool extra_class = false;  // one of logit 0 beyond the vocabulary, which no target names
  Ref nll = {};              // optional f32 (rows): log Σ_v exp z_i[v] − z_i[t_i], with neither smoothing nor extra class
};
struct CrossEntropyBackwardArgs {  // dlogits = dlosses[i]·(softmax(z_i) − (1 − ls)·onehot − ls/vocab)
  Ref dlogits;                     // may be the logits themselves
  CRef dlosses, logits, lse, targets;
  int64_t rows, vocab;
  float label_smoothing;
};

}  // namespace star
