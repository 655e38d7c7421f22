#include "system/pages.h"

#include <malloc.h>

#include "system/windows/windows.h"

namespace star {

size_t page_size() {
  static const size_t size = [] {
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return static_cast<size_t>(info.dwPageSize);
  }();
  return size;
}

void* map_pages(size_t bytes) { return VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE); }

void unmap_pages(void* data, size_t) { VirtualFree(data, 0, MEM_RELEASE); }

void* aligned_block(size_t bytes) { return _aligned_malloc(bytes, 64); }

void free_aligned_block(void* block) { _aligned_free(block); }

void trim_heap() {}

}  // namespace star
