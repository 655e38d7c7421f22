// Rows of a matrix, one to a warp or to a block. A row that is short enough stays in registers between the sweeps over it; a
// longer one is read from memory in each sweep. Kernels are written once for both.
#pragma once

#include "cuda/device/element.cuh"
#include "cuda/device/reduce.cuh"

namespace star {

template <int n>
struct Floats {
  float v[n];
};

template <int n, class T>
__device__ __forceinline__ Floats<n> to_floats(const Vector<T, n>& raw) {
  Floats<n> x;
#pragma unroll
  for (int j = 0; j < n; ++j) x.v[j] = to_float(raw.v[j]);
  return x;
}
template <int n, class T>
__device__ __forceinline__ Floats<n> load_floats(const T* p) {
  return to_floats(load_vector<n>(p));
}
template <int n, class T>
__device__ __forceinline__ void store_floats(T* p, const Floats<n>& x) {
  Vector<T, n> raw;
#pragma unroll
  for (int j = 0; j < n; ++j) raw.v[j] = from_float<T>(x.v[j]);
  store_vector<n>(p, raw);
}

// How a row lies over threads: thread t of `threads` has the vectors t, t + threads, … of n elements each, at most `parts` of
// them, or any number when parts = 0. 32 threads are a warp, and four warps a block; more threads are a block.
template <int n, int threads, int parts>
struct RowLayout {
  static constexpr int kN = n, kParts = parts;
  static constexpr int kBlock = threads == kWarp ? 4 * kWarp : threads;
  static constexpr int kRows = kBlock / threads;  // rows of a block

  // Number of this thread's row. Past the last row a warp may return: nothing below is a barrier of several rows.
  __device__ static int64_t row() { return int64_t{blockIdx.x} * kRows + threadIdx.x / threads; }
  __device__ static int thread() { return threadIdx.x % threads; }

  // f(part, first column) for each vector of this thread.
  template <class F>
  __device__ __forceinline__ static void each(int cols, F f) {
    if constexpr (parts > 0) {
#pragma unroll
      for (int part = 0; part < parts; ++part) {
        const int col = (part * threads + thread()) * n;
        if (col < cols) f(part, col);
      }
    } else {
      for (int64_t col = int64_t{thread()} * n; col < cols; col += threads * n) f(0, static_cast<int>(col));
    }
  }

  // use(load(col), col) for the first column of each vector of this thread, for rows that are swept once; `batch` loads are
  // under way at a time.
  template <int batch, class Load, class Use>
  __device__ __forceinline__ static void sweep(int cols, Load load, Use use) {
    constexpr int kStep = threads * n;
    int64_t col = int64_t{thread()} * n;
    for (; col + (batch - 1) * kStep < cols; col += batch * kStep) {
      decltype(load(0)) values[batch];
#pragma unroll
      for (int b = 0; b < batch; ++b) values[b] = load(static_cast<int>(col) + b * kStep);
#pragma unroll
      for (int b = 0; b < batch; ++b) use(values[b], static_cast<int>(col) + b * kStep);
    }
    for (; col < cols; col += kStep) use(load(static_cast<int>(col)), static_cast<int>(col));
  }

  // Over all threads of the row.
  template <class Join>
  __device__ __forceinline__ static float join(float x, Join with) {
    if constexpr (threads == kWarp) {
      return warp_join(x, with);
    } else {
      return block_join<threads>(x, with);
    }
  }
  __device__ __forceinline__ static float sum(float x) { return join(x, JoinSum()); }
  __device__ __forceinline__ static void sum2(float& x, float& y) {
    if constexpr (threads == kWarp) {
      x = warp_sum(x);
      y = warp_sum(y);
    } else {
      block_sum2<threads>(x, y);
    }
  }
  __device__ __forceinline__ static float max(float x) { return join(x, JoinMax()); }
};

// This thread's part of one row, given as float and held as it came: two halves share a register.
template <class T, class Layout>
class RowValues {
 public:
  static constexpr int kN = Layout::kN, kParts = Layout::kParts;

  __device__ __forceinline__ void load(const T* row, int cols) {
    if constexpr (kParts > 0) {
      Layout::each(cols, [&](int part, int col) { held_[part] = load_vector<kN>(row + col); });
    } else {
      row_ = row;
    }
  }
  __device__ __forceinline__ Floats<kN> get(int part, int col) const {
    if constexpr (kParts > 0) {
      return to_floats(held_[part]);
    } else {
      return load_floats<kN>(row_ + col);
    }
  }

 private:
  Vector<T, kN> held_[kParts > 0 ? kParts : 1];
  const T* row_ = nullptr;
};

}  // namespace star
