#include "simt/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "simt/audit.h"
#include "simt/grid.h"
#include "simt/machine.h"

namespace star::simt {

namespace {
constexpr size_t kAlignment = 256;  // cudaMalloc's
constexpr size_t kArena = size_t{1} << 45, kPage = 4096;
}  // namespace

DeviceMemory& DeviceMemory::instance() {
  static auto* memory = new DeviceMemory;  // leaked: tensors may outlive static destruction
  return *memory;
}

// The next addresses of the arena; more than the bytes, so that the end of one allocation is not the start of the next.
void* DeviceMemory::reserve(size_t bytes) {
  if (!arena_) {
    void* map = mmap(nullptr, kArena, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return nullptr;
    arena_ = static_cast<char*>(map);
  }
  if (bytes > kArena - kAlignment) return nullptr;
  const size_t alignment = bytes < kPage ? kAlignment : kPage, length = bytes + kAlignment;
  size_t start = arena_used_;
  for (bool again = false;;) {
    start = (start + alignment - 1) / alignment * alignment;
    if (start > kArena - length) {  // from the front, around what is still in use
      if (again) return nullptr;
      again = true;
      start = 0;
      continue;
    }
    const auto address = reinterpret_cast<uintptr_t>(arena_) + start;
    auto next = allocations_.lower_bound(address + length);
    if (next == allocations_.begin()) break;
    const auto& [before, allocation] = *--next;
    if (before + allocation.bytes + kAlignment <= address) break;
    if (before + allocation.bytes < reinterpret_cast<uintptr_t>(arena_)) break;  // no part of the arena
    start = before + allocation.bytes + kAlignment - reinterpret_cast<uintptr_t>(arena_);
  }
  arena_used_ = start + length;
  return arena_ + start;
}

void* DeviceMemory::allocate(size_t bytes, bool track) {
  const std::lock_guard lock(mutex_);
  if (used_ + bytes > Machine::from_environment().memory) return nullptr;
  void* data = nullptr;
  if (audit_enabled()) {
    data = reserve(bytes);
    if (!data) return nullptr;
    track = false;
  } else {
    if (posix_memalign(&data, kAlignment, bytes) != 0) return nullptr;
    fill_garbage(data, bytes, false);
  }
  Allocation& allocation = allocations_[reinterpret_cast<uintptr_t>(data)];
  allocation.data = static_cast<char*>(data);
  allocation.bytes = bytes;
  allocation.number = ++number_;
  if (track) allocation.unwritten.assign(bytes, 1);
  used_ += bytes;
  peak_ = std::max(peak_, used_);
  return data;
}

bool DeviceMemory::release(void* data) {
  const std::lock_guard lock(mutex_);
  const auto it = allocations_.find(reinterpret_cast<uintptr_t>(data));
  if (it == allocations_.end()) return false;
  const size_t bytes = it->second.bytes;
  used_ -= bytes;
  allocations_.erase(it);
  const auto address = reinterpret_cast<uintptr_t>(data);
  if (!arena_ || address - reinterpret_cast<uintptr_t>(arena_) >= kArena)
    std::free(data);
  else if (bytes >= kPage)  // then no other allocation has a part of its pages
    madvise(data, bytes, MADV_DONTNEED);
  return true;
}

Allocation* DeviceMemory::find(const void* data, size_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  auto it = allocations_.upper_bound(address);
  if (it == allocations_.begin()) return nullptr;
  Allocation& allocation = (--it)->second;
  return address + bytes <= it->first + allocation.bytes ? &allocation : nullptr;
}

bool DeviceMemory::contains(const void* data, size_t bytes) {
  const std::lock_guard lock(mutex_);
  return find(data, bytes) != nullptr;
}

void DeviceMemory::mark_written(void* to, size_t bytes) {
  const std::lock_guard lock(mutex_);
  Allocation* allocation = find(to, bytes);
  if (!allocation || allocation->unwritten.empty()) return;
  if (bytes == allocation->bytes) {
    allocation->unwritten = {};
  } else {
    std::fill_n(allocation->unwritten.begin() + (static_cast<char*>(to) - allocation->data), bytes, 0);
  }
}

void DeviceMemory::copy_marks(void* to, const void* from, size_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    const Allocation* source = find(from, bytes);
    Allocation* target = find(to, bytes);
    if (source && target && !source->unwritten.empty()) {
      if (target->unwritten.empty()) target->unwritten.assign(target->bytes, 0);
      std::copy_n(source->unwritten.begin() + (static_cast<const char*>(from) - source->data), bytes,
                  target->unwritten.begin() + (static_cast<char*>(to) - target->data));
      return;
    }
  }
  mark_written(to, bytes);
}

std::vector<Allocation*> DeviceMemory::reachable(const void* data, size_t bytes) {
  const std::lock_guard lock(mutex_);
  std::vector<Allocation*> found;
  if (allocations_.empty()) return found;
  const uintptr_t lowest = allocations_.begin()->first,
                  span = allocations_.rbegin()->first + allocations_.rbegin()->second.bytes - lowest;
  const uint64_t walk = ++walk_;
  const auto scan = [&](const void* words, size_t size) {
    for (size_t i = 0; i + sizeof(uintptr_t) <= size; i += sizeof(uintptr_t)) {
      uintptr_t word;
      std::memcpy(&word, static_cast<const char*>(words) + i, sizeof word);
      if (word - lowest >= span) continue;
      Allocation* allocation = find(reinterpret_cast<const void*>(word), 0);
      if (!allocation || allocation->walk == walk) continue;
      allocation->walk = walk;
      found.push_back(allocation);
    }
  };
  scan(data, bytes);
  for (size_t i = 0; i < found.size(); ++i) scan(found[i]->data, found[i]->bytes);
  return found;
}

uint64_t DeviceMemory::used() {
  const std::lock_guard lock(mutex_);
  return used_;
}

uint64_t DeviceMemory::peak(bool reset) {
  const std::lock_guard lock(mutex_);
  if (reset) peak_ = used_;
  return peak_;
}

}  // namespace star::simt
