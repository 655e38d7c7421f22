// Stand-in of cuda/device/shared.cuh: shared memory as heap blocks of exactly the size asked for, one set for each block.
#pragma once

#include "cuda/device/kernel.cuh"

#define STAR_SHARED(type, name, ...)                                                                     \
  using name##_shared = type __VA_ARGS__;                                                                \
  static const ::star::simt::SharedKey name##_key{#name, sizeof(name##_shared), alignof(name##_shared)}; \
  [[maybe_unused]] name##_shared& name = *static_cast<name##_shared*>(::star::simt::Block::current().shared(name##_key))

namespace star {

template <class T>
T* dynamic_shared() {
  return static_cast<T*>(simt::Block::current().dynamic_shared());
}

}  // namespace star
