// Threads of the CPU ops. Every thread that calls ops (the main thread, worker threads) has a team of helpers of its own, which
// starts at its first parallel region and ends with it. Whoever waits looks for work for as long as it takes from one op to the
// next, and then sleeps; where other work wants the processors it sleeps nearly at once. Regions need no helper to proceed: the
// caller takes over what no helper has begun, so a helper that the system does not schedule delays nobody. Which thread runs a
// part never changes a result.
#pragma once

#include <memory>
#include <type_traits>

namespace star {

// Threads of a region, the caller among them: STAR_THREADS, else the first number of OMP_NUM_THREADS, else the processors this
// process may run on. Throws ERR_CONFIG when STAR_THREADS is not a whole number from 1 to 1024.
int thread_count();

// Whether the calling thread is inside a region of several threads. A region begun there runs on the calling thread alone.
bool in_region();

// The calling thread's number within its region and the number of threads of that region; 0 and 1 outside of one.
int region_index();
int region_size();

using RegionBody = void (*)(void* data);

// Calls body(data) once for each index in [0, threads). Bodies may wait for each other (region_barrier, or by themselves): all
// have begun before any needs to end. They must not throw. Throws ERR_MEMORY where the system starts no further thread.
void run_region(int threads, RegionBody body, void* data);

// Calls body(data) on the calling thread, and at the same time on up to threads − 1 helpers: on those that come while the
// caller's own call lasts. For bodies that take parts of one piece of work until none is left.
void run_shared(int threads, RegionBody body, void* data);

template <typename Body>
void run_shared(int threads, Body&& body) {
  using Callable = std::remove_reference_t<Body>;
  run_shared(
      threads, [](void* data) { (*static_cast<Callable*>(data))(); },
      const_cast<void*>(static_cast<const void*>(std::addressof(body))));
}

// Waits until all threads of the calling thread's region are here.
void region_barrier();

}  // namespace star
