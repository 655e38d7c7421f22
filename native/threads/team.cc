#include "threads/team.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include "core/error.h"
#include "system/thread.h"

namespace star {

namespace {

using Clock = std::chrono::steady_clock;

// How long a thread that waits looks for what it waits for before it sleeps: longer than the gap between two ops of a model,
// which costs less than sleeping and being woken; and where other work wants the processors, too short to matter.
constexpr auto kSpin = std::chrono::microseconds(200), kCrowdedSpin = std::chrono::microseconds(20);
// A thread that lost so much of the time in which it wanted to run takes the machine for crowded, for a while.
constexpr auto kLost = std::chrono::microseconds(300);
constexpr auto kCrowded = std::chrono::milliseconds(100);
// Pauses between two looks at the clock; one is 10 to 60 ns.
constexpr int kPauses = 16;

void pause_processor() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int count_from_environment() {
  if (const char* text = std::getenv("STAR_THREADS"); text && *text) {
    char* end = nullptr;
    const long threads = std::strtol(text, &end, 10);
    if (*end || threads < 1 || threads > 1024)
      fail(ErrorCode::Config, "STAR_THREADS is '%s': expected a whole number from 1 to 1024", text);
    return static_cast<int>(threads);
  }
  // A list has a number for each level of nested regions; what is no number is for other programs to complain about.
  if (const char* text = std::getenv("OMP_NUM_THREADS"); text && *text) {
    char* end = nullptr;
    const long threads = std::strtol(text, &end, 10);
    while (*end == ' ') ++end;
    if (end != text && (*end == '\0' || *end == ',') && threads >= 1) return static_cast<int>(std::min(threads, 1024L));
  }
  return processor_count();
}

// Where the calling thread last began to work: since then it has run, or wanted to.
struct WorkBegin {
  Clock::time_point wall;
  std::chrono::nanoseconds processor;
};
thread_local WorkBegin work_begin;

void begin_work() { work_begin = {Clock::now(), thread_processor_time()}; }

// Whether threads of this process had to wait for a processor lately.
bool crowded(Clock::time_point now) {
  static std::atomic<Clock::rep> until{0};
  const auto processor = thread_processor_time();
  if ((now - work_begin.wall) - (processor - work_begin.processor) > kLost)
    until.store((now + kCrowded).time_since_epoch().count(), std::memory_order_relaxed);
  work_begin = {now, processor};
  return now.time_since_epoch().count() < until.load(std::memory_order_relaxed);
}

// Looks for ready() for a while. With more threads than processors that takes a processor from those who are waited for.
template <typename Ready>
bool spin_until(Ready&& ready) {
  static const bool spins = thread_count() <= processor_count();
  if (ready()) return true;
  if (!spins) return false;
  const auto now = Clock::now();
  const auto end = now + (crowded(now) ? kCrowdedSpin : kSpin);
  do {
    for (int i = 0; i < kPauses; ++i) {
      pause_processor();
      if (ready()) return true;
    }
  } while (Clock::now() < end);
  return false;
}

// A number that threads wait for.
class Signal {
 public:
  int load() const { return value_.load(); }
  void store(int value) { value_.store(value); }

  // Adds 1 and wakes up to `count` of those who sleep; costs no system call where nobody does.
  void raise(int count = INT_MAX) {
    value_.fetch_add(1);
    if (sleepers_.load() > 0) wake_sleepers(value_, count);
  }

  // Returns when the number is not `old`.
  void await_change(int old) {
    if (spin_until([&] { return value_.load(std::memory_order_acquire) != old; })) return;
    sleepers_.fetch_add(1);
    while (value_.load() == old) sleep_while(value_, old);
    sleepers_.fetch_sub(1);
    begin_work();
  }

 private:
  alignas(64) std::atomic<int> value_{0};
  std::atomic<int> sleepers_{0};
};

class Team;

struct Place {  // of a thread within the region it runs
  Team* team = nullptr;
  int index = 0, size = 1;
};
thread_local Place place;

class Team {
 public:
  Team() = default;
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team() {
    ending_ = true;
    epoch_.raise();
    for (std::thread& helper : helpers_) helper.join();
  }

  // One region at a time: only the thread whose team it is calls this.
  void run(int threads, RegionBody body, void* data, bool each_index) {
    begin_work();
    begin(threads, body, data);
    run_index(0);
    int taken_over = 0;
    if (each_index)
      for (int index; (index = claim()) > 0; ++taken_over) run_index(index);
    const int unclaimed = unclaimed_.exchange(0, std::memory_order_acq_rel);
    const int begun = threads - 1 - taken_over - unclaimed;  // by helpers
    for (int done; (done = done_.load()) != begun;) done_.await_change(done);
  }

  void barrier() {
    const int passed = barriers_.load();
    if (arrived_.fetch_add(1) + 1 < threads_) return barriers_.await_change(passed);
    arrived_.store(0);
    barriers_.raise();
  }

  // Starts helpers up to `count`.
  void start(int count) {
    if (static_cast<int>(helpers_.size()) >= count) return;
    const SignalsBlocked signals;  // which are for the threads of the host
    try {
      while (static_cast<int>(helpers_.size()) < count) helpers_.emplace_back([this] { help(); });
    } catch (const std::system_error&) {
      fail(ErrorCode::Memory, "the system starts no more than %zu of %d threads: raise the limit (ulimit -u) or set STAR_THREADS",
           helpers_.size() + 1, count + 1);
    }
  }

 private:
  void begin(int threads, RegionBody body, void* data) {
    start(threads - 1);
    threads_ = threads, body_ = body, data_ = data;
    done_.store(0);
    unclaimed_.store(threads - 1);  // from here on helpers that are awake begin
    epoch_.raise(threads - 1);
  }

  // The next index nobody has begun; 0 where there is none. What the region is may be read after a claim: it stays until its
  // claimed indices are done.
  int claim() {
    int left = unclaimed_.load(std::memory_order_relaxed);
    while (left > 0)
      if (unclaimed_.compare_exchange_weak(left, left - 1, std::memory_order_acquire, std::memory_order_relaxed))
        return threads_ - left;
    return 0;
  }

  void run_index(int index) noexcept {
    place = {this, index, threads_};
    body_(data_);
    place = {};
  }

  void help() {
    name_thread("star-helper");
    begin_work();
    while (!ending_.load(std::memory_order_acquire)) {
      const int epoch = epoch_.load();
      if (const int index = claim()) {
        run_index(index);
        done_.raise();
      } else {
        epoch_.await_change(epoch);
      }
    }
  }

  std::vector<std::thread> helpers_;
  std::atomic<bool> ending_{false};
  // The present region, written while none of its indices can be claimed.
  RegionBody body_ = nullptr;
  void* data_ = nullptr;
  int threads_ = 0;
  alignas(64) std::atomic<int> unclaimed_{0};  // indices nobody has begun: the last ones
  Signal epoch_;                               // changes with every region: what idle helpers wait for
  Signal done_;                                // indices that helpers have finished
  std::atomic<int> arrived_{0};
  Signal barriers_;  // that have been passed
};

// On the heap: libraries that are loaded late share some hundred bytes of thread-local storage (glibc's static TLS).
Team& own_team() {
  thread_local const auto team = std::make_unique<Team>();
  return *team;
}

void run(int threads, RegionBody body, void* data, bool each_index) {
  if (threads > 1 && !in_region()) return own_team().run(threads, body, data, each_index);
  const Place outer = place;
  place = {outer.team, 0, 1};
  body(data);
  place = outer;
}

}  // namespace

int thread_count() {
  static const int count = count_from_environment();
  return count;
}

bool in_region() { return place.team != nullptr; }
int region_index() { return place.index; }
int region_size() { return place.size; }

void run_region(int threads, RegionBody body, void* data) { run(threads, body, data, true); }
void run_shared(int threads, RegionBody body, void* data) { run(threads, body, data, false); }

void region_barrier() {
  if (place.size > 1) place.team->barrier();
}

}  // namespace star

// Entries of the OpenMP runtime that oneDNN is compiled to call, on our own threads. The addon comes before libgomp where
// oneDNN's references are looked up, so its products and convolutions run on the same threads as all other ops and wait as they
// do. libgomp's threads spin for milliseconds; they are told otherwise by its environment variables alone, which are read once,
// when it is loaded, and would have to be set for the whole process of the host.
// Names, arguments and meaning: GCC's libgomp ABI and the OpenMP API. oneDNN asks for no more than what stands here.
#define STAR_EXPORT extern "C" __attribute__((visibility("default")))

STAR_EXPORT void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned /*flags*/) {
  star::run_region(threads ? static_cast<int>(threads) : star::thread_count(), body, data);
}
STAR_EXPORT void GOMP_barrier() { star::region_barrier(); }
STAR_EXPORT int omp_get_max_threads() { return star::thread_count(); }
STAR_EXPORT int omp_get_num_threads() { return star::region_size(); }
STAR_EXPORT int omp_get_thread_num() { return star::region_index(); }
STAR_EXPORT int omp_in_parallel() { return star::in_region(); }
