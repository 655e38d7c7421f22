#include "system/map_guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <mutex>

namespace star {

// One guarded mapping. Ranges are never freed, since the handler may walk the list at any moment; a free one has begin 0.
struct MapGuard::Range {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<bool> broken{false};
  Range* next = nullptr;
};

struct GuardedRanges {
  static std::atomic<MapGuard::Range*> first;
  static std::mutex mutex;  // of changes; the handler only reads
  static struct sigaction previous;
  static uintptr_t page;

  static void handle(int signal, siginfo_t* info, void* context);
  static void install();
  static MapGuard::Range* take(uintptr_t begin, uintptr_t end);
};

std::atomic<MapGuard::Range*> GuardedRanges::first{nullptr};
std::mutex GuardedRanges::mutex;
struct sigaction GuardedRanges::previous;
uintptr_t GuardedRanges::page = 0;

void GuardedRanges::handle(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (MapGuard::Range* range = first.load(); range; range = range->next) {
    const uintptr_t begin = range->begin.load(), end = range->end.load();
    if (begin == 0 || address < begin || address >= end) continue;
    // All that follows is lost too, and one mapping takes less of the system's tables than one a page.
    const uintptr_t from = address / page * page;
    void* const zeros = ::mmap(reinterpret_cast<void*>(from), end - from, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (zeros == MAP_FAILED) break;
    range->broken.store(true);
    return;
  }
  // Not ours: whoever handled the signal before does, or the system, when the access is done again.
  if (previous.sa_flags & SA_SIGINFO)
    previous.sa_sigaction(signal, info, context);
  else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
    previous.sa_handler(signal);
  else
    std::signal(SIGBUS, SIG_DFL);
}

void GuardedRanges::install() {
  static const bool installed = [] {
    page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    struct sigaction action = {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);  // a macro on macOS
    return ::sigaction(SIGBUS, &action, &previous) == 0;
  }();
  static_cast<void>(installed);
}

MapGuard::Range* GuardedRanges::take(uintptr_t begin, uintptr_t end) {
  const std::lock_guard lock(mutex);
  MapGuard::Range* range = first.load();
  while (range && range->begin.load() != 0) range = range->next;
  const bool fresh = !range;
  if (fresh) {
    range = new MapGuard::Range();
    range->next = first.load();
  }
  range->broken.store(false);
  range->end.store(end);
  range->begin.store(begin);
  if (fresh) first.store(range);
  return range;
}

MapGuard::MapGuard(const void* data, size_t bytes) {
  GuardedRanges::install();
  const auto begin = reinterpret_cast<uintptr_t>(data);
  const uintptr_t end = (begin + bytes + GuardedRanges::page - 1) / GuardedRanges::page * GuardedRanges::page;
  range_ = GuardedRanges::take(begin / GuardedRanges::page * GuardedRanges::page, end);
}

MapGuard::~MapGuard() {
  if (range_) range_->begin.store(0);
}

bool MapGuard::guards(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  for (Range* range = GuardedRanges::first.load(); range; range = range->next) {
    const uintptr_t begin = range->begin.load();
    if (begin != 0 && address >= begin && address < range->end.load()) return true;
  }
  return false;
}

bool MapGuard::broken() const { return range_ && range_->broken.load(); }

}  // namespace star
