// Device memory: heap blocks of exactly the size asked for, in a table, so that AddressSanitizer sees accesses outside of them
// and the checks can compare them. In the audit, addresses of an arena that is reserved once and takes memory where it is
// written; an address is not given out again before the arena's
// end is reached, so that one that was kept too long is found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

namespace star::simt {

struct Allocation {
  char* data = nullptr;
  size_t bytes = 0;
  uint64_t number = 0;  // in the order of allocation
  uint64_t walk = 0;    // the last one that came by (DeviceMemory::reachable)
  // One entry a byte: 1 where nobody has written yet. Empty: all was written. Kept in check mode only.
  std::vector<uint8_t> unwritten;
};

class DeviceMemory {
 public:
  static DeviceMemory& instance();

  void* allocate(size_t bytes, bool track);  // nullptr when there is not enough memory
  bool release(void* data);                  // false: it is not the start of an allocation
  // True when the bytes lie within one allocation.
  bool contains(const void* data, size_t bytes);
  void mark_written(void* to, size_t bytes);
  void copy_marks(void* to, const void* from, size_t bytes);  // device to device
  uint64_t used();
  uint64_t peak(bool reset);

  // The allocations that code can reach which is given these bytes: those that a word of them points into, those that a word of
  // these points into, and so on. What happens to look like an address counts as one. The list is good until something is freed.
  std::vector<Allocation*> reachable(const void* data, size_t bytes);

 private:
  Allocation* find(const void* data, size_t bytes);
  void* reserve(size_t bytes);

  std::mutex mutex_;
  std::map<uintptr_t, Allocation> allocations_;  // by address
  uint64_t used_ = 0, peak_ = 0, number_ = 0, walk_ = 0;
  char* arena_ = nullptr;
  size_t arena_used_ = 0;
};

}  // namespace star::simt
