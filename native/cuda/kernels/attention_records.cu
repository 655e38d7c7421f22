// What the backward of attention knows of each query before it begins: its log-sum-exp, and Σ dout·out (Dao et al. 2022).
#include "cuda/cuda_backend.h"
#include "cuda/device/attention_tile.cuh"
#include "cuda/dispatch.h"
#include "cuda/kernels/attention.h"
#include "cuda/launch.h"

namespace star {

namespace {

constexpr float kLog2e = 1.44269504f;

// records[b, h, i] = (lse·log₂e, Σ dout·out), (+∞, 0) for a query that sees no key and for those that fill up the last tile: an
// infinite sum makes all probabilities of a query 0. 8 lanes a query; kUnit elements at a time.
template <class T, int kUnit>
__global__ void __launch_bounds__(256) attention_records_kernel(float2* records, const T* dout, const T* out, const float* lse,
                                                                AttentionShape shape, int padded, int64_t count) {
  const int64_t item = (static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x) / 8;  // (batch, padded, heads)
  const int head = static_cast<int>(item % shape.heads), i = static_cast<int>(item / shape.heads % padded);
  const int64_t b = item / shape.heads / padded;
  const bool real = item < count && i < shape.lq;
  float delta = 0.0f;
  if (real) {
    const int64_t row = ((b * shape.lq + i) * shape.heads + head) * shape.head_dim;
    for (int c = threadIdx.x % 8 * kUnit; c < shape.head_dim; c += 8 * kUnit) {
      const auto x = load_vector<kUnit>(dout + row + c), y = load_vector<kUnit>(out + row + c);
#pragma unroll
      for (int e = 0; e < kUnit; ++e) delta = fmaf(to_float(x.v[e]), to_float(y.v[e]), delta);
    }
  }
#pragma unroll
  for (int step = 4; step > 0; step /= 2) delta += __shfl_xor_sync(kFullWarp, delta, step);
  if (item >= count || threadIdx.x % 8 != 0) return;
  const int64_t group = b * shape.heads + head;
  const float sum = real ? lse[group * shape.lq + i] : -INFINITY;
  records[group * padded + i] = make_float2(sum == -INFINITY ? INFINITY : sum * kLog2e, delta);
}

// ---------------------------------------------------------------------------------------------------------------------------------

constexpr char kOp[] = "attention_backward";

template <class T>
void make_records(CudaBackend& backend, float2* records, const AttentionBackwardArgs& a, const AttentionShape& shape) {
  const T *dout = as<T>(a.dout, kOp), *out = as<T>(a.out, kOp);
  const bool vectors = a.head_dim % kVector<T> == 0 && on_16_bytes({dout, out});
  const int padded = padded_queries(shape.lq);
  const int64_t count = a.batch * a.heads * padded;
  launch(kOp, vectors ? attention_records_kernel<T, kVector<T>> : attention_records_kernel<T, 1>,
         {blocks_for(count * 8, 256), 256}, backend.stream(), records, dout, out, a.lse.f32(), shape, padded, count);
}

}  // namespace

void attention_records(CudaBackend& backend, float2* records, const AttentionBackwardArgs& a, const AttentionShape& shape) {
  dispatch_float(a.q.dtype, kOp, [&](auto tag) { make_records<decltype(tag)>(backend, records, a, shape); });
}

}  // namespace star
