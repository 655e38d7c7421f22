// Shared memory. The simt build puts a stand-in of this file first on the include path; nowhere else is `__shared__` written.
#pragma once

#include "cuda/device/kernel.cuh"

// STAR_SHARED(float, tile, [32][33]) declares float tile[32][33], one for the block; STAR_SHARED(float, total, ) a single value.
#define STAR_SHARED(type, name, ...) __shared__ type name __VA_ARGS__

namespace star {

// The block's dynamic shared memory, as many bytes as the launch asked for, aligned to 16.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char star_dynamic_shared[];
  return reinterpret_cast<T*>(star_dynamic_shared);
}

}  // namespace star
