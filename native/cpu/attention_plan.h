// How attention's work is cut into pieces for threads. Every piece computes the same bits wherever it is cut.
#pragma once

#include <algorithm>
#include <cstdint>

namespace star {

struct AttentionPiece {   // one head of one sample, some of its tiles
  int64_t b, h, begin, end;   // tiles [begin, end) of queries (or keys)
};

struct AttentionPlan {
  int64_t heads, tiles, spans;
  // Splits the tiles of a head only where there are too few heads to keep all threads busy.
  AttentionPlan(int64_t batch, int64_t heads, int64_t tiles, int64_t threads) : heads(heads), tiles(tiles), spans(1) {
    const int64_t all = std::max<int64_t>(1, batch * heads);
    if (all < 4 * threads) spans = std::clamp<int64_t>((4 * threads + all - 1) / all, 1, std::max<int64_t>(1, tiles));
    count = batch * heads * spans;
  }
  int64_t count;
  AttentionPiece piece(int64_t i) const {
    const int64_t span = i % spans, head = i / spans;
    return {head / heads, head % heads, span * tiles / spans, (span + 1) * tiles / spans};
  }
};

}  // namespace star
