#include "core/allocator.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "core/error.h"
#include "system/available_memory.h"
#include "system/pages.h"

namespace star {

namespace {

// Rounds up to an eighth of the next power of two: at most 12.5 % are wasted and few classes exist.
size_t size_class(size_t bytes) {
  if (bytes <= 512) return (std::max<size_t>(bytes, 1) + 63) / 64 * 64;
  const size_t step = std::bit_floor(bytes) / 8;
  return (bytes + step - 1) / step * step;
}

// After so many bytes from the system the machine is asked: it promises more memory than there is, and ends the process when the
// promise is called in. Asking takes about as long as touching a hundredth of them.
constexpr size_t kUnasked = size_t{64} << 20;

std::atomic<size_t> taken_unasked{0};

// Blocks from this size on are mapped for themselves, and unmapped when they are given back. From malloc they would come out of
// the heap of the thread that asked: tensors of a thread that has ended lie between others there, and the heap never shrinks.
constexpr size_t kMapped = size_t{128} << 10;

void* from_system(size_t size) {
  if (taken_unasked.fetch_add(size) + size >= kUnasked) {
    if (available_memory() < size + kUnasked) return nullptr;
    taken_unasked = 0;
  }
  return size < kMapped ? aligned_block(size) : map_pages(size);
}

void to_system(void* data, size_t size) {
  if (size < kMapped)
    free_aligned_block(data);
  else
    unmap_pages(data, size);
}

}  // namespace

CachingAllocator::~CachingAllocator() { trim(); }

void* CachingAllocator::allocate(size_t bytes) {
  if (bytes > (size_t{1} << 46)) fail(ErrorCode::Memory, "cannot allocate %zu bytes", bytes);
  const size_t size = size_class(bytes);
  std::lock_guard lock(mutex_);
  void* data = nullptr;
  auto& blocks = free_[size];
  if (!blocks.empty()) {
    data = blocks.back();
    blocks.pop_back();
    stats_.cached_bytes -= size;
  } else {
    data = from_system(size);
    if (!data) {
      clear();
      data = from_system(size);
    }
    if (!data) {
      const size_t available = available_memory();
      fail(ErrorCode::Memory,
           "out of memory: %zu bytes asked for, %zu in use by tensors, %zu available; use a smaller batch or model, or end other "
           "programs",
           size, stats_.live_bytes, available);
    }
  }
  stats_.live_bytes += size;
  stats_.live_blocks += 1;
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  return data;
}

void CachingAllocator::release(void* data, size_t bytes) {
  if (!data) return;
  const size_t size = size_class(bytes);
  std::lock_guard lock(mutex_);
  free_[size].push_back(data);
  stats_.live_bytes -= size;
  stats_.live_blocks -= 1;
  stats_.cached_bytes += size;
}

void CachingAllocator::trim() {
  std::lock_guard lock(mutex_);
  clear();
  trim_heap();  // small blocks and what libraries freed: malloc keeps it otherwise
}

void CachingAllocator::clear() {
  for (auto& [size, blocks] : free_)
    for (void* block : blocks) to_system(block, size);
  free_.clear();
  stats_.cached_bytes = 0;
}

void CachingAllocator::reset_peak() {
  std::lock_guard lock(mutex_);
  stats_.peak_bytes = stats_.live_bytes;
}

MemoryStats CachingAllocator::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace star
