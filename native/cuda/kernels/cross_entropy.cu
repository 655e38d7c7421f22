// Cross-entropy of rows of logits with label smoothing: each row is read once in each direction.
#include "cuda/cuda_backend.h"
#include "cuda/dispatch.h"
#include "cuda/rows.h"

namespace star {

namespace {

// What a sweep over logits gathers. Sums of exponentials are taken relative to the largest logit so far and scaled down when a
// larger one comes (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018).
struct LogitStatistics {
  float largest = -INFINITY, exp_sum = 0.0f, sum = 0.0f;
  int argmax = 0;  // the lowest index on a tie

  // exp(z − largest), 0 for z = −∞ even where nothing larger has come.
  __device__ __forceinline__ static float relative_exp(float z, float largest) {
    return expf(z - (largest == -INFINITY ? 0.0f : largest));
  }

  // Indices must come in ascending order.
  template <int n>
  __device__ __forceinline__ void add(const Floats<n>& z, int first) {
    float top = largest;
    for (int j = 0; j < n; ++j) {
      sum += z.v[j];
      if (z.v[j] > top) {
        top = z.v[j];
        argmax = first + j;
      }
    }
    exp_sum *= relative_exp(largest, top);
    for (int j = 0; j < n; ++j) exp_sum += relative_exp(z.v[j], top);
    largest = top;
  }

  __device__ __forceinline__ void join(const LogitStatistics& other) {
    const float top = fmaxf(largest, other.largest);
    exp_sum = exp_sum * relative_exp(largest, top) + other.exp_sum * relative_exp(other.largest, top);
    sum += other.sum;
    if (other.largest > largest || (other.largest == largest && other.argmax < argmax)) argmax = other.argmax;
    largest = top;
  }
};

__device__ __forceinline__ LogitStatistics warp_join(LogitStatistics x) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    LogitStatistics other;
    other.largest = __shfl_xor_sync(kFullWarp, x.largest, step);
    other.exp_sum = __shfl_xor_sync(kFullWarp, x.exp_sum, step);
    other.sum = __shfl_xor_sync(kFullWarp, x.sum, step);
    other.argmax = __shfl_xor_sync(kFullWarp, x.argmax, step);
    x.join(other);
  }
  return x;
}

template <class T>
struct LogitRows {
  const T* logits;
  const int* targets;
  int64_t rows;
  int vocab;
  float smoothing;
  int* fault;

  // −1 when the target lies outside the vocabulary, which is reported.
  __device__ __forceinline__ int target(int64_t row) const {
    const int t = targets[row];
    if (t >= 0 && t < vocab) return t;
    *fault = kTargetIndex;
    return -1;
  }
};

struct RowResults {
  float *losses, *lse, *nll;  // nll may be null
  int* argmax;                // may be null
  bool extra_class;
};

// log(eˣ + eʸ), y finite
__device__ __forceinline__ float log_add_exp(float x, float y) { return fmaxf(x, y) + log1pf(expf(-fabsf(x - y))); }

template <class T, class Layout>
__global__ __launch_bounds__(Layout::kBlock) void cross_entropy_kernel(RowResults results, LogitRows<T> a) {
  constexpr int kN = Layout::kN;
  const int64_t row = Layout::row();
  if (row >= a.rows) return;
  const T* z = a.logits + row * a.vocab;
  LogitStatistics s;
  Layout::template sweep<2>(
      a.vocab, [&](int col) { return load_vector<kN>(z + col); },
      [&](const Vector<T, kN>& raw, int col) { s.add(to_floats(raw), col); });
  s = warp_join(s);
  if constexpr (Layout::kRows == 1) {  // the row is a block's: its first warp joins what the warps have
    constexpr int kWarps = Layout::kBlock / kWarp;
    STAR_SHARED(float4, of_warps, [kWarps]);
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    if (lane == 0) of_warps[threadIdx.x / kWarp] = make_float4(s.largest, s.exp_sum, s.sum, __int_as_float(s.argmax));
    __syncthreads();
    if (threadIdx.x >= kWarp) return;
    s = LogitStatistics();
    s.argmax = a.vocab;  // an empty lane wins no tie
    if (lane < kWarps) {
      const float4 w = of_warps[lane];
      s.largest = w.x;
      s.exp_sum = w.y;
      s.sum = w.z;
      s.argmax = __float_as_int(w.w);
    }
    s = warp_join(s);
  }
  if (Layout::thread() != 0) return;
  const int target = a.target(row);
  const float at_target = target < 0 ? NAN : to_float(z[target]);
  const float of_vocabulary = s.largest + logf(s.exp_sum);
  const float log_total = results.extra_class ? log_add_exp(of_vocabulary, 0.0f) : of_vocabulary;
  float loss = log_total - (1.0f - a.smoothing) * at_target;
  if (a.smoothing != 0.0f) loss -= a.smoothing * (s.sum / static_cast<float>(a.vocab));
  results.losses[row] = loss;
  results.lse[row] = log_total;
  if (results.nll) results.nll[row] = of_vocabulary - at_target;
  if (results.argmax) results.argmax[row] = s.argmax;
}

// dlogits may be the logits themselves: every element is read and written by one thread.
template <class T, class Layout>
__global__ __launch_bounds__(Layout::kBlock) void cross_entropy_backward_kernel(T* dlogits, const float* dlosses,
                                                                                const float* lse, LogitRows<T> a) {
  constexpr int kN = Layout::kN;
  const int64_t row = Layout::row();
  if (row >= a.rows) return;
  const int target = a.target(row);
  const float g = dlosses[row], log_total = lse[row];
  const float everywhere = a.smoothing / static_cast<float>(a.vocab), at_target = 1.0f - a.smoothing;
  const T* logits = a.logits + row * a.vocab;
  Layout::template sweep<2>(
      a.vocab, [&](int col) { return load_vector<kN>(logits + col); },
      [&](const Vector<T, kN>& raw, int col) {
        Floats<kN> z = to_floats(raw);
        for (int j = 0; j < kN; ++j)
          z.v[j] = g * (expf(z.v[j] - log_total) - everywhere - (col + j == target ? at_target : 0.0f));
        store_floats<kN>(dlogits + row * a.vocab + col, z);
      });
}

// ----------------------------------------------------------------------------------------------------------------------------

// Rows are swept once, so none are held.
template <class T, class F>
void with_logit_rows(int64_t vocab, bool vectors, F&& f) {
  with_vectors<T>(vectors, [&](auto n) {
    constexpr int kN = decltype(n)::value;
    if (vocab <= 1024) return f(RowLayout<kN, kWarp, 0>());
    return f(RowLayout<kN, 256, 0>());
  });
}

}  // namespace

void CudaBackend::cross_entropy(const CrossEntropyArgs& a) {
  const char* op = "cross_entropy";
  const int vocab = checked_cols(a.vocab, op);
  dispatch_float(a.logits.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    const LogitRows<T> rows{as<T>(a.logits, op), a.targets.i32(), a.rows, vocab, a.label_smoothing, fault()};
    const RowResults results{a.losses.f32(), a.lse.f32(), a.nll ? a.nll.f32() : nullptr, a.argmax ? a.argmax.i32() : nullptr,
                             a.extra_class};
    with_logit_rows<T>(vocab, vocab % kVector<T> == 0 && aligned(rows.logits), [&](auto layout) {
      using Layout = decltype(layout);
      launch(op, cross_entropy_kernel<T, Layout>, row_shape<Layout>(a.rows), stream(), results, rows);
    });
  });
}

void CudaBackend::cross_entropy_backward(const CrossEntropyBackwardArgs& a) {
  const char* op = "cross_entropy_backward";
  const int vocab = checked_cols(a.vocab, op);
  dispatch_float(a.logits.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    T* dlogits = as<T>(a.dlogits, op);
    const LogitRows<T> rows{as<T>(a.logits, op), a.targets.i32(), a.rows, vocab, a.label_smoothing, fault()};
    with_logit_rows<T>(vocab, vocab % kVector<T> == 0 && aligned(dlogits, rows.logits), [&](auto layout) {
      using Layout = decltype(layout);
      launch(op, cross_entropy_backward_kernel<T, Layout>, row_shape<Layout>(a.rows), stream(), dlogits, a.dlosses.f32(),
             a.lse.f32(), rows);
    });
  });
}

}  // namespace star
