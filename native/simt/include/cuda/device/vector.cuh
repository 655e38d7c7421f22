// Stand-in of cuda/device/vector.cuh: a vector at an address that is not a multiple of its size, which a GPU does not load, is an
// error that names the place.
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
inline Vector<T, n> load_vector(const T* p, simt::Site site = simt::Site::current()) {
  simt::Block::check_aligned(p, sizeof(Vector<T, n>), "a vector load", site);
  return *reinterpret_cast<const Vector<T, n>*>(p);
}
template <int n, class T>
inline void store_vector(T* p, const Vector<T, n>& x, simt::Site site = simt::Site::current()) {
  simt::Block::check_aligned(p, sizeof(Vector<T, n>), "a vector store", site);
  *reinterpret_cast<Vector<T, n>*>(p) = x;
}

}  // namespace star
