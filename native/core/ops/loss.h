#pragma once

#include "core/dtype.h"

namespace star {

// losses[i] = lse_i − (1 − ls)·z_i[t_i] − ls·mean_v z_i[v], with z the logits, t the targets and ls the label smoothing.
struct CrossEntropyArgs {
  Ref losses;    // f32 (rows)
  Ref lse;       // f32 (rows): log Σ exp z
  Ref argmax;    // optional i32 (rows): the predicted token
  CRef logits;   // (rows, vocab)
  CRef targets;  // i32 (rows)
  int64_t rows, vocab;
  float label_smoothing;
};
struct CrossEntropyBackwardArgs {  // dlogits = dlosses[i]·(softmax(z_i) − (1 − ls)·onehot − ls/vocab)
  Ref dlogits;                     // may be the logits themselves
  CRef dlosses, logits, lse, targets;
  int64_t rows, vocab;
  float label_smoothing;
};

}  // namespace star
