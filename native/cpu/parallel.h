// Parallel loops over ranges. Results of ops must not depend on the number of threads: a loop that sums
// across elements works in chunks of fixed size (parallel_chunks) and adds the chunks' results in order.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

#include "threads/team.h"

namespace star {

// Calls body(chunk, begin, end) for each chunk of `grain` elements of [0, count); chunk boundaries depend on count and grain
// only. The first exception is thrown again after the loop.
template <typename Body>
void parallel_chunks(int64_t count, int64_t grain, Body&& body) {
  const int64_t chunks = (count + grain - 1) / grain;
  auto run = [&](int64_t chunk) { body(chunk, chunk * grain, std::min(count, (chunk + 1) * grain)); };
  if (chunks <= 1 || thread_count() == 1 || in_region()) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) run(chunk);
    return;
  }
  std::exception_ptr error;
  std::atomic<bool> failed = false;
  std::atomic<int64_t> next = 0;
  run_shared(static_cast<int>(std::min<int64_t>(thread_count(), chunks)), [&] {
    for (int64_t chunk; (chunk = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) {
      try {
        run(chunk);
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
  });
  if (error) std::rethrow_exception(error);
}

// Calls body(begin, end) over parts of [0, count) of at least `grain` elements, for loops whose elements are independent.
template <typename Body>
void parallel_for(int64_t count, int64_t grain, Body&& body) {
  if (count <= 0) return;
  const int64_t threads = thread_count();
  // Four parts a thread even out unequal progress. Long parts are a multiple of 64, which keeps vector loops and cache lines
  // whole; few but heavy elements, such as rows, are dealt out one by one.
  const int64_t share = (count + 4 * threads - 1) / (4 * threads);
  const int64_t part = std::max(grain, share < 256 ? share : (share + 63) / 64 * 64);
  parallel_chunks(count, part, [&](int64_t, int64_t begin, int64_t end) { body(begin, end); });
}

}  // namespace star
