// Memory from the operating system.
#pragma once

#include <cstddef>

namespace star {

size_t page_size();  // bytes

// Zeroed pages of their own for `bytes` bytes; nullptr where the system gives none. They go back whole.
void* map_pages(size_t bytes);
void unmap_pages(void* data, size_t bytes);

// A block of the C library's heap, aligned to 64 bytes; nullptr where there is none. `bytes` is a multiple of 64.
void* aligned_block(size_t bytes);
void free_aligned_block(void* block);  // nullptr is harmless

// The heap's free memory goes back to the system, where the C library can do that.
void trim_heap();

}  // namespace star
