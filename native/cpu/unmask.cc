// Stable sampling: which positions of a token map are fixed in a step.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"

namespace star {

void CpuBackend::unmask(const UnmaskArgs& args) {
  const float* all_scores = args.score.f32();
  const int32_t* all_drawn = args.drawn.i32();
  int32_t* all_ids = args.ids.i32();
  uint8_t* all_known = args.known.u8();
  parallel_for(args.rows, std::max<int64_t>(1, 4096 / std::max<int64_t>(1, args.length)), [&](int64_t begin, int64_t end) {
    std::vector<int32_t> chosen;
    for (int64_t r = begin; r < end; ++r) {
      const float* score = all_scores + r * args.length;
      uint8_t* known = all_known + r * args.length;
      chosen.clear();
      for (int64_t i = 0; i < args.length; ++i)
        if (args.among_all || !known[i]) chosen.push_back(static_cast<int32_t>(i));
      const auto value = [&](int32_t i) { return std::isnan(score[i]) ? -std::numeric_limits<float>::infinity() : score[i]; };
      if (args.fix < static_cast<int64_t>(chosen.size())) {
        std::nth_element(chosen.begin(), chosen.begin() + args.fix, chosen.end(),
                         [&](int32_t a, int32_t b) { return value(a) != value(b) ? value(a) > value(b) : a < b; });
        chosen.resize(static_cast<size_t>(args.fix));
      }
      for (int32_t i : chosen) {
        if (known[i]) continue;
        all_ids[r * args.length + i] = all_drawn[r * args.length + i];
        known[i] = 1;
      }
    }
  });
}

}  // namespace star
