// What is asked about the gradients of many tensors at once: their norm, and whether every element is finite.
#include <vector>

#include "cuda/cuda_backend.h"
#include "cuda/device/rows.cuh"
#include "cuda/tensor_table.h"

namespace star {

namespace {

using NormTable = TensorTable<96, TensorEntry>;
constexpr int64_t kNormPiece = 16384;

// f(x) for this thread's share of the block's piece.
template <class F>
__device__ __forceinline__ void each_value(const NormTable& table, F f) {
  const TensorPiece piece = find_piece(table, kNormPiece);
  const TensorEntry e = table.entries[piece.tensor];
  with_type(e.dtype, [&](auto tag) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(tag)>>;
    each_element<kVector<T>>(piece, e.vectors, [&](int64_t i, auto n) {
      const auto x = load_floats<decltype(n)::value>(static_cast<const T*>(e.data) + i);
      for (int j = 0; j < decltype(n)::value; ++j) f(x.v[j]);
    });
  });
}

// In float64: squares of large gradients of a scaled half-precision loss overflow float32.
__global__ __launch_bounds__(kTableThreads) void sum_squares_kernel(double* partial, NormTable table) {
  double sum = 0.0;
  each_value(table, [&](float x) { sum += static_cast<double>(x) * x; });
  sum = block_join<kTableThreads>(sum, JoinSum());
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

constexpr int kRootThreads = 1024;

// One block.
__global__ __launch_bounds__(kRootThreads) void root_of_sum_kernel(float* norm, const double* partial, int64_t count) {
  double sum = 0.0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < count; i += kRootThreads) sum += partial[i];
  sum = block_join<kRootThreads>(sum, JoinSum());
  if (threadIdx.x == 0) *norm = static_cast<float>(sqrt(sum));
}

__global__ void finite_begin_kernel(int* finite) { *finite = 1; }

__global__ __launch_bounds__(kTableThreads) void finite_kernel(int* finite, NormTable table) {
  constexpr float kLargest = 3.402823466e38f;
  bool all = true;
  each_value(table, [&](float x) { all = all && fabsf(x) <= kLargest; });
  if (!all) *finite = 0;  // whoever writes, writes the same
}

// ----------------------------------------------------------------------------------------------------------------------------

std::vector<TensorEntry> entries_of(const std::vector<CRef>& tensors, const std::vector<int64_t>& counts, const char* op) {
  std::vector<TensorEntry> entries;
  for (size_t i = 0; i < tensors.size(); ++i) entries.emplace_back(tensors[i], counts[i], op);
  return entries;
}

}  // namespace

void CudaBackend::global_norm(const GlobalNormArgs& a) {
  const std::vector<TensorEntry> entries = entries_of(a.tensors, a.counts, "global_norm");
  int64_t pieces = 0;
  for (const TensorEntry& e : entries) pieces += pieces_of(e.count, kNormPiece);
  const Scratch scratch(*this, static_cast<size_t>(pieces) * sizeof(double));
  double* partial = scratch.as<double>();
  for_tables<NormTable>(entries, kNormPiece, [&](const NormTable& table, unsigned blocks) {
    launch("global_norm", sum_squares_kernel, {dim3(blocks), dim3(kTableThreads)}, stream(), partial, table);
    partial += blocks;
  });
  launch("global_norm", root_of_sum_kernel, {dim3(1), dim3(kRootThreads)}, stream(), a.norm.f32(), scratch.as<double>(), pieces);
}

void CudaBackend::finite(const FiniteArgs& a) {
  int* finite = a.finite.i32();
  launch("finite", finite_begin_kernel, {dim3(1), dim3(1)}, stream(), finite);
  const std::vector<TensorEntry> entries = entries_of(a.tensors, a.counts, "finite");
  for_tables<NormTable>(entries, kNormPiece, [&](const NormTable& table, unsigned blocks) {
    launch("finite", finite_kernel, {dim3(blocks), dim3(kTableThreads)}, stream(), finite, table);
  });
}

}  // namespace star
