// Windows refuses to shorten a file that is mapped, so there is nothing to guard against: mappings are only listed.
#include "system/map_guard.h"

#include <cstdint>
#include <list>
#include <mutex>

namespace star {

struct MapGuard::Range {
  uintptr_t begin, end;
};

struct GuardedRanges {
  static std::list<MapGuard::Range*> all;
  static std::mutex mutex;
};
std::list<MapGuard::Range*> GuardedRanges::all;
std::mutex GuardedRanges::mutex;

MapGuard::MapGuard(const void* data, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(data);
  range_ = new Range{begin, begin + bytes};
  const std::lock_guard lock(GuardedRanges::mutex);
  GuardedRanges::all.push_back(range_);
}

MapGuard::~MapGuard() {
  const std::lock_guard lock(GuardedRanges::mutex);
  GuardedRanges::all.remove(range_);
  delete range_;
}

bool MapGuard::guards(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  const std::lock_guard lock(GuardedRanges::mutex);
  for (const Range* range : GuardedRanges::all)
    if (address >= range->begin && address < range->end) return true;
  return false;
}

bool MapGuard::broken() const { return false; }

}  // namespace star
