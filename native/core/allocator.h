// A caching host allocator: blocks of a size class are kept and handed out again, because fresh pages from the system
// cost more than most kernels that write to them. Live bytes are counted, so that tests can prove a step leaks none.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <vector>

namespace star {

struct MemoryStats {
  size_t live_bytes = 0;  // held by tensors
  size_t live_blocks = 0;
  size_t peak_bytes = 0;    // largest live_bytes since the last reset_peak
  size_t cached_bytes = 0;  // kept for reuse
};

class CachingAllocator {
 public:
  ~CachingAllocator();
  void* allocate(size_t bytes);            // 64-byte aligned; throws ERR_MEMORY naming the size
  void release(void* data, size_t bytes);  // bytes as given to allocate
  void trim();                             // gives cached blocks back to the system
  void reset_peak();
  MemoryStats stats() const;

 private:
  void clear();

  mutable std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;  // by rounded size
  MemoryStats stats_;
};

}  // namespace star
