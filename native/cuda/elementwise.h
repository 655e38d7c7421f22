// How elementwise kernels are launched: a thread takes 16 bytes where all addresses allow it, and one element otherwise.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/device/element.cuh"
#include "cuda/launch.h"

namespace star {

// True when every address is a multiple of 16 (nullptr is).
template <class... P>
bool aligned(const P*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

// Calls f with std::integral_constant<int, n>: n elements of T are 16 bytes, or n = 1.
template <class T, class F>
void with_vectors(bool vectors, F&& f) {
  if (vectors)
    f(std::integral_constant<int, kVector<T>>{});
  else
    f(std::integral_constant<int, 1>{});
}

// One thread for n elements.
inline LaunchShape elementwise_shape(int64_t count, int n) {
  constexpr int kThreads = 256;
  return {dim3(blocks_for(count, static_cast<int64_t>(kThreads) * n)), dim3(kThreads)};
}

}  // namespace star
