// What AddressSanitizer has to be told when a stack is left for another one; nothing in other builds.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

namespace star::simt {
constexpr bool kAddressSanitizer = true;
inline void start_switch(void** fake_stack, const void* stack, size_t bytes) {
  __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
}
inline void finish_switch(void* fake_stack) { __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr); }
inline void forget_stack(const void* stack, size_t bytes) { __asan_unpoison_memory_region(stack, bytes); }
}  // namespace star::simt

#else

namespace star::simt {
constexpr bool kAddressSanitizer = false;
inline void start_switch(void**, const void*, size_t) {}
inline void finish_switch(void*) {}
inline void forget_stack(const void*, size_t) {}
}  // namespace star::simt

#endif
