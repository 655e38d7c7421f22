// How attention's work is cut into pieces for threads. Every piece computes the same bits wherever it is cut.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/parallel.h"

namespace star {

// Fewer products than this take less time than waking the other threads.
constexpr int64_t kSharedProducts = 1 << 19;

struct AttentionPiece {      // one head of one sample, some of its tiles
  int64_t b, h, begin, end;  // tiles [begin, end) of queries (or keys)
};

class AttentionPlan {
 public:
  // Splits the tiles of a head only where there are too few heads to keep all threads busy.
  AttentionPlan(int64_t batch, int64_t heads, int64_t tiles, int64_t threads) : heads_(heads), tiles_(tiles) {
    const int64_t all = std::max<int64_t>(1, batch * heads);
    if (all < 4 * threads) spans_ = std::clamp<int64_t>((4 * threads + all - 1) / all, 1, std::max<int64_t>(1, tiles));
    count_ = batch * heads * spans_;
  }

  // Calls body(piece) for all pieces, on one thread where there is too little work to share.
  template <typename Body>
  void run(bool parallel, Body&& body) const {
    if (parallel)
      parallel_chunks(count_, 1, [&](int64_t i, int64_t, int64_t) { body(piece(i)); });
    else
      for (int64_t i = 0; i < count_; ++i) body(piece(i));
  }

 private:
  AttentionPiece piece(int64_t i) const {
    const int64_t span = i % spans_, head = i / spans_;
    return {head / heads_, head % heads_, span * tiles_ / spans_, (span + 1) * tiles_ / spans_};
  }

  int64_t heads_, tiles_, spans_ = 1, count_ = 0;
};

}  // namespace star
