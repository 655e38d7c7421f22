// Parallel loops over ranges with OpenMP. Results of ops must not depend on the number of threads: a loop that sums
// across elements works in chunks of fixed size (parallel_chunks) and adds the chunks' results in order.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <exception>

namespace star {

// Calls body(chunk, begin, end) for each chunk of `grain` elements of [0, count); chunk boundaries depend on count and grain
// only. The first exception is thrown again after the loop.
template <typename Body>
void parallel_chunks(int64_t count, int64_t grain, Body&& body) {
  const int64_t chunks = (count + grain - 1) / grain;
  auto run = [&](int64_t chunk) { body(chunk, chunk * grain, std::min(count, (chunk + 1) * grain)); };
  if (chunks <= 1 || omp_get_max_threads() == 1 || omp_in_parallel()) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) run(chunk);
    return;
  }
  std::exception_ptr error;
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    try {
      run(chunk);
    } catch (...) {
#pragma omp critical
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

// Calls body(begin, end) over parts of [0, count) of at least `grain` elements, for loops whose elements are independent.
template <typename Body>
void parallel_for(int64_t count, int64_t grain, Body&& body) {
  if (count <= 0) return;
  const int64_t threads = omp_get_max_threads();
  // Four parts a thread even out unequal progress. Long parts are a multiple of 64, which keeps vector loops and cache lines
  // whole; few but heavy elements, such as rows, are dealt out one by one.
  const int64_t share = (count + 4 * threads - 1) / (4 * threads);
  const int64_t part = std::max(grain, share < 256 ? share : (share + 63) / 64 * 64);
  parallel_chunks(count, part, [&](int64_t, int64_t begin, int64_t end) { body(begin, end); });
}

}  // namespace star
