#pragma once

#include "core/dtype.h"

namespace star {

struct EmbeddingArgs {  // y[i] = table[ids[i]]; throws ERR_ARGUMENT for an id outside [0, rows)
  Ref y;                // (count, cols)
  CRef table;           // (rows, cols)
  CRef ids;             // i32 (count)
  int64_t count, rows, cols;
};
struct EmbeddingBackwardArgs {  // dtable[r] = Σ over i with ids[i] = r of dy[i], in the order of i
  Ref dtable;
  CRef dy, ids;
  int64_t count, rows, cols;
};

// ids[i] = argmin over v of ‖x_i‖² + ‖codebook_v‖² − 2·x_i·codebook_v, the lowest index on a tie. Distances are never stored
// whole.
struct NearestRowArgs {
  Ref ids;        // i32 (rows)
  Ref distance;   // optional f32 (rows): the smallest squared distance
  CRef x;         // (rows, cols)
  CRef codebook;  // (vocab, cols)
  int64_t rows, cols, vocab;
};

}  // namespace star
