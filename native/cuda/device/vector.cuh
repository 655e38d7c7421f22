// Vectors of elements that are loaded and stored in one instruction.
#pragma once

#include "cuda/device/kernel.cuh"

namespace star {

// n elements at an address that is a multiple of their size together.
template <class T, int n>
struct alignas(sizeof(T) * n) Vector {
  T v[n];
};

// Elements of T in 16 bytes.
template <class T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

template <int n, class T>
__device__ __forceinline__ Vector<T, n> load_vector(const T* p) {
  return *reinterpret_cast<const Vector<T, n>*>(p);
}
template <int n, class T>
__device__ __forceinline__ void store_vector(T* p, const Vector<T, n>& x) {
  *reinterpret_cast<Vector<T, n>*>(p) = x;
}

}  // namespace star
