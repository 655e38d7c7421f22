#include "system/available_memory.h"

#include <algorithm>
#include <limits>

#include "system/windows/windows.h"

namespace star {

size_t available_memory() {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof status;
  if (!GlobalMemoryStatusEx(&status)) return std::numeric_limits<size_t>::max();
  // A page needs room in physical memory or in the page file when it is committed.
  return static_cast<size_t>(std::min(status.ullAvailPhys, status.ullAvailPageFile));
}

}  // namespace star
