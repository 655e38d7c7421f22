// Keeps the process alive where a mapped file is shortened by someone else, or its disk fails, while it is in use. The system
// answers a read of such a page with SIGBUS; the handler puts zeros there and notes it, and whoever has read asks `broken`.
#pragma once

#include <cstddef>

namespace star {

class MapGuard {
 public:
  MapGuard() = default;
  MapGuard(const void* data, size_t bytes);  // guards the pages of [data, data + bytes)
  ~MapGuard();                               // before they are unmapped
  MapGuard(const MapGuard&) = delete;
  MapGuard& operator=(const MapGuard&) = delete;

  bool broken() const;  // a page was replaced by zeros

  static bool guards(const void* address);  // whether it lies in a mapping that is guarded

 private:
  struct Range;
  friend struct GuardedRanges;
  Range* range_ = nullptr;
};

}  // namespace star
