// One part of a packed projection made ready for attention: l2 normalisation, scale and rotary embedding in one pass over memory,
// and their gradient.
#include <algorithm>
#include <type_traits>

#include "cuda/cuda_backend.h"
#include "cuda/device/element.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/dispatch.h"
#include "cuda/launch.h"

namespace star {

namespace {

constexpr int kThreads = 256;
constexpr float kSmallestNorm = 1e-12f;
constexpr float kLargestLogScale = 4.60517019f;  // ln 100

struct HeadsShape {
  int64_t batch, length, parts, part;
  int heads, head_dim;
  int lanes;  // of a warp that share a row: a power of two
};

// Elements [c, c + kUnit) of a row as floats, zeros from `dim` on; kUnit = kVector<T> in one load, 2 (a pair) one by one.
template <int kUnit, class T>
__device__ __forceinline__ Vector<float, kUnit> load_unit(const T* row, int c, int dim) {
  Vector<float, kUnit> x;
  if constexpr (kUnit == kVector<T>) {
    const auto loaded = load_vector<kUnit>(row + c);
#pragma unroll
    for (int e = 0; e < kUnit; ++e) x.v[e] = to_float(loaded.v[e]);
  } else {
#pragma unroll
    for (int e = 0; e < kUnit; ++e) x.v[e] = c + e < dim ? to_float(row[c + e]) : 0.0f;
  }
  return x;
}
template <int kUnit, class T>
__device__ __forceinline__ void store_unit(T* row, int c, int dim, const Vector<float, kUnit>& x) {
  if constexpr (kUnit == kVector<T>) {
    Vector<T, kUnit> rounded;
#pragma unroll
    for (int e = 0; e < kUnit; ++e) rounded.v[e] = from_float<T>(x.v[e]);
    store_vector(row + c, rounded);
  } else {
#pragma unroll
    for (int e = 0; e < kUnit; ++e)
      if (c + e < dim) row[c + e] = from_float<T>(x.v[e]);
  }
}

// Turns pairs (2i, 2i + 1) by the angles whose (cos, sin) stand in the same places of `angles`; direction −1 turns back.
template <int kUnit>
__device__ __forceinline__ void rotate(Vector<float, kUnit>& x, const float* angles, float direction) {
#pragma unroll
  for (int e = 0; e < kUnit; e += 2) {
    const auto angle = load_vector<2>(angles + e);
    const float even = x.v[e], odd = x.v[e + 1], cosine = angle.v[0], sine = direction * angle.v[1];
    x.v[e] = even * cosine - odd * sine;
    x.v[e + 1] = even * sine + odd * cosine;
  }
}

// The sum over groups of `lanes` neighbours, for all of them.
__device__ __forceinline__ float group_sum(float x, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(kFullWarp, x, step);
  return x;
}

__device__ __forceinline__ float head_factor(const float* log_scale, int head) {
  if (!log_scale) return 1.0f;
  const float x = __ldg(log_scale + head);
  return expf(x > kLargestLogScale ? kLargestLogScale : x);  // NaN stays NaN
}

template <class T, int kUnit>
__global__ void __launch_bounds__(kThreads)
    heads_kernel(T* out, const T* x, const float* log_scale, const float* rope, HeadsShape shape, int64_t out_capacity,
                 int64_t out_position, bool l2_norm) {
  const int64_t item = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / shape.lanes;  // (batch, length, heads)
  const bool real = item < shape.batch * shape.length * shape.heads;
  const int dim = shape.head_dim, lane = threadIdx.x & (shape.lanes - 1);
  const int head = static_cast<int>(item % shape.heads);
  const int64_t token = item / shape.heads, b = token / shape.length, position = token % shape.length;
  const T* from = x + ((token * shape.parts + shape.part) * shape.heads + head) * dim;
  T* to = out + ((b * out_capacity + out_position + position) * shape.heads + head) * dim;

  float factor = 1.0f;
  if (l2_norm) {
    float sum = 0.0f;
    for (int c = lane * kUnit; real && c < dim; c += shape.lanes * kUnit) {
      const auto v = load_unit<kUnit>(from, c, dim);
#pragma unroll
      for (int e = 0; e < kUnit; ++e) sum = fmaf(v.v[e], v.v[e], sum);
    }
    const float norm = sqrtf(group_sum(sum, shape.lanes));
    factor = head_factor(log_scale, head) / (norm < kSmallestNorm ? kSmallestNorm : norm);
  }
  for (int c = lane * kUnit; real && c < dim; c += shape.lanes * kUnit) {
    auto v = load_unit<kUnit>(from, c, dim);
    if (rope) rotate(v, rope + position * dim + c, 1.0f);
#pragma unroll
    for (int e = 0; e < kUnit; ++e) v.v[e] *= factor;
    store_unit(to, c, dim, v);
  }
}

// With dh the gradient turned back, n = ‖x‖ and factor = scale/n: dx = factor·(dh − x·(dh·x)/n²), d log scale = Σ factor·(dh·x).
// blockIdx.y is the head, blockIdx.x a chunk of `chunk` tokens, whose sum goes to partial[chunk][head].
template <class T, int kUnit>
__global__ void __launch_bounds__(kThreads)
    heads_backward_kernel(T* dx, float* partial, const T* dout, const T* x, const float* log_scale, const float* rope,
                          HeadsShape shape, int chunk, bool l2_norm) {
  const int dim = shape.head_dim, lane = threadIdx.x & (shape.lanes - 1), head = blockIdx.y;
  const int64_t tokens = shape.batch * shape.length, begin = static_cast<int64_t>(blockIdx.x) * chunk;
  const float scale = head_factor(log_scale, head);
  float dlog_scale = 0.0f;
  for (int i = threadIdx.x / shape.lanes; i < chunk; i += kThreads / shape.lanes) {
    const int64_t token = begin + i;
    const bool real = token < tokens;
    const T* dy = dout + (token * shape.heads + head) * dim;
    const float* angles = rope ? rope + token % shape.length * dim : nullptr;
    const int64_t at = ((token * shape.parts + shape.part) * shape.heads + head) * dim;
    float factor = 1.0f, along = 0.0f;
    if (l2_norm) {
      float square = 0.0f, overlap = 0.0f;
      for (int c = lane * kUnit; real && c < dim; c += shape.lanes * kUnit) {
        const auto v = load_unit<kUnit>(x + at, c, dim);
        auto dh = load_unit<kUnit>(dy, c, dim);
        if (rope) rotate(dh, angles + c, -1.0f);
#pragma unroll
        for (int e = 0; e < kUnit; ++e) {
          square = fmaf(v.v[e], v.v[e], square);
          overlap = fmaf(dh.v[e], v.v[e], overlap);
        }
      }
      const float norm = sqrtf(group_sum(square, shape.lanes));
      overlap = group_sum(overlap, shape.lanes);
      factor = scale / (norm < kSmallestNorm ? kSmallestNorm : norm);
      // Below the smallest norm the divisor is constant, so nothing is projected out.
      along = norm > kSmallestNorm ? overlap / norm / norm : 0.0f;
      if (lane == 0) dlog_scale += factor * overlap;
    }
    for (int c = lane * kUnit; real && c < dim; c += shape.lanes * kUnit) {
      auto dh = load_unit<kUnit>(dy, c, dim);
      if (rope) rotate(dh, angles + c, -1.0f);
      if (l2_norm) {
        const auto v = load_unit<kUnit>(x + at, c, dim);
#pragma unroll
        for (int e = 0; e < kUnit; ++e) dh.v[e] = factor * (dh.v[e] - v.v[e] * along);
      }
      store_unit(dx + at, c, dim, dh);
    }
  }
  if (!partial) return;
  dlog_scale = block_sum<kThreads>(dlog_scale);
  if (threadIdx.x == 0) partial[static_cast<int64_t>(blockIdx.x) * shape.heads + head] = dlog_scale;
}

// One warp a head adds up its chunks.
__global__ void __launch_bounds__(kWarp)
    heads_log_scale_kernel(float* dlog_scale, const float* partial, const float* log_scale, int heads, int chunks) {
  const int head = blockIdx.x;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < chunks; i += kWarp) sum += partial[static_cast<int64_t>(i) * heads + head];
  sum = warp_sum(sum);
  // Where the scale is clamped it does not move.
  if (threadIdx.x == 0) dlog_scale[head] = log_scale && log_scale[head] <= kLargestLogScale ? sum : 0.0f;
}

// ---------------------------------------------------------------------------------------------------------------------------------

template <class Args>
HeadsShape heads_shape(const Args& a, int unit, const char* op) {
  if (a.heads > 65535) fail(ErrorCode::Argument, "%s: %lld heads, expected at most 65535", op, static_cast<long long>(a.heads));
  if (a.head_dim > 1 << 24)
    fail(ErrorCode::Argument, "%s: head_dim is %lld, expected at most 2^24", op, static_cast<long long>(a.head_dim));
  int lanes = 1;
  while (lanes < kWarp && lanes * unit < a.head_dim) lanes *= 2;
  return {a.batch, a.length, a.parts, a.part, static_cast<int>(a.heads), static_cast<int>(a.head_dim), lanes};
}

// Calls f with the number of elements, as a type, that threads take at a time: 16 bytes where every row allows it, else a pair.
template <class T, class F>
void with_unit(int64_t head_dim, std::initializer_list<const void*> rows, F&& f) {
  const bool aligned =
      std::all_of(rows.begin(), rows.end(), [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; });
  if (aligned && head_dim % kVector<T> == 0) return f(std::integral_constant<int, kVector<T>>{});
  f(std::integral_constant<int, 2>{});
}

}  // namespace

void CudaBackend::heads(const HeadsArgs& a) {
  constexpr char kOp[] = "heads";
  dispatch_float(a.x.dtype, kOp, [&](auto tag) {
    using T = decltype(tag);
    T* out = as<T>(a.out, kOp);
    const T* x = as<T>(a.x, kOp);
    with_unit<T>(a.head_dim, {out, x}, [&](auto unit) {
      const HeadsShape shape = heads_shape(a, unit, kOp);
      launch(kOp, heads_kernel<T, unit>, {blocks_for(a.batch * a.length * a.heads * shape.lanes, kThreads), kThreads}, stream(),
             out, x, a.log_scale.f32(), a.rope.f32(), shape, a.out_capacity, a.out_position, a.l2_norm);
    });
  });
}

void CudaBackend::heads_backward(const HeadsBackwardArgs& a) {
  constexpr char kOp[] = "heads_backward";
  constexpr int kChunk = 128;  // tokens
  const unsigned chunks = blocks_for(a.batch * a.length, kChunk);
  float* dlog_scale = a.dlog_scale.f32();
  const float* log_scale = a.log_scale.f32();
  const Scratch partial(*this, dlog_scale ? chunks * static_cast<size_t>(a.heads) * sizeof(float) : 0);
  dispatch_float(a.x.dtype, kOp, [&](auto tag) {
    using T = decltype(tag);
    T* dx = as<T>(a.dx, kOp);
    const T *dout = as<T>(a.dout, kOp), *x = as<T>(a.x, kOp);
    with_unit<T>(a.head_dim, {dx, dout, x}, [&](auto unit) {
      launch(kOp, heads_backward_kernel<T, unit>, {dim3(chunks, static_cast<unsigned>(a.heads)), kThreads}, stream(), dx,
             dlog_scale ? partial.as<float>() : nullptr, dout, x, log_scale, a.rope.f32(), heads_shape(a, unit, kOp), kChunk,
             a.l2_norm);
    });
  });
  if (dlog_scale)
    launch(kOp, heads_log_scale_kernel, {static_cast<unsigned>(a.heads), kWarp}, stream(), dlog_scale, partial.as<float>(),
           log_scale, static_cast<int>(a.heads), static_cast<int>(chunks));
}

}  // namespace star
