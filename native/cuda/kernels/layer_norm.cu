// Layer normalisation of rows with an affine map or a modulation that repeats over the rows, forward and backward: each row is
// read once, and the gradients of scale and shift are summed on the way.
#include "cuda/columns.h"
#include "cuda/cuda_backend.h"
#include "cuda/dispatch.h"
#include "cuda/rows.h"

namespace star {

namespace {

template <class T>
struct LayerNormRows {
  const T *x, *scale, *shift;
  int64_t rows, mod_rows;
  int cols;
  float one;  // what is added to scale: 0 for an affine map, 1 for a modulation
};

template <class T, class Layout>
__global__ __launch_bounds__(Layout::kBlock, 2) void layer_norm_kernel(T* y, float* mean, float* rstd, LayerNormRows<T> a,
                                                                       float eps) {
  constexpr int kN = Layout::kN;
  const int64_t row = Layout::row();
  if (row >= a.rows) return;
  RowValues<T, Layout> x;
  x.load(a.x + row * a.cols, a.cols);
  float sum = 0.0f;
  Layout::each(a.cols, [&](int part, int col) {
    const Floats<kN> v = x.get(part, col);
    for (int j = 0; j < kN; ++j) sum += v.v[j];
  });
  const float m = Layout::sum(sum) / static_cast<float>(a.cols);
  float squares = 0.0f;
  Layout::each(a.cols, [&](int part, int col) {
    const Floats<kN> v = x.get(part, col);
    for (int j = 0; j < kN; ++j) squares += (v.v[j] - m) * (v.v[j] - m);
  });
  const float r = 1.0f / sqrtf(Layout::sum(squares) / static_cast<float>(a.cols) + eps);
  if (Layout::thread() == 0) {
    mean[row] = m;
    rstd[row] = r;
  }
  const int64_t modulation = row % a.mod_rows * a.cols;
  Layout::each(a.cols, [&](int part, int col) {
    Floats<kN> v = x.get(part, col);
    for (int j = 0; j < kN; ++j) v.v[j] = (v.v[j] - m) * r;
    if (a.scale) {
      const Floats<kN> scale = load_floats<kN>(a.scale + modulation + col);
      for (int j = 0; j < kN; ++j) v.v[j] *= scale.v[j] + a.one;
    }
    if (a.shift) {
      const Floats<kN> shift = load_floats<kN>(a.shift + modulation + col);
      for (int j = 0; j < kN; ++j) v.v[j] += shift.v[j];
    }
    store_floats<kN>(y + row * a.cols + col, v);
  });
}

// Rows that share a row of scale, in chunks: chunk k of row m of scale has the rows m + u·mod_rows of x with u in
// [k·per_chunk, (k + 1)·per_chunk).
struct LayerNormChunks {
  int64_t uses, per_chunk, count;
};

// Where the sums of one of the parameters go.
template <class T>
struct ParameterSums {
  T* out;          // (mod_rows, cols), when there is one chunk
  float* partial;  // (mod_rows, chunks, cols), when there are more
  __device__ __forceinline__ bool wanted() const { return out || partial; }
  __device__ __forceinline__ float* partial_row(int64_t item, int cols) const {
    return partial ? partial + item * cols : nullptr;
  }
};

// A thread's sums over the rows of a chunk, for its columns: in registers, or in memory where rows are too long for them.
template <class T, class Layout>
class ColumnSums {
 public:
  static constexpr int kN = Layout::kN, kParts = Layout::kParts;

  __device__ __forceinline__ explicit ColumnSums(float* memory) : memory_(memory) {
    for (int part = 0; part < kParts; ++part)
      for (int j = 0; j < kN; ++j) held_[part].v[j] = 0.0f;
  }
  __device__ __forceinline__ void add(int part, int col, const Floats<kN>& x, bool first) {
    if constexpr (kParts > 0) {
      for (int j = 0; j < kN; ++j) held_[part].v[j] += x.v[j];
    } else {
      Floats<kN> sum = x;
      if (!first) {
        const Floats<kN> before = load_floats<kN>(memory_ + col);
        for (int j = 0; j < kN; ++j) sum.v[j] += before.v[j];
      }
      store_floats<kN>(memory_ + col, sum);
    }
  }
  // `item` counts the chunks of all rows of scale.
  __device__ __forceinline__ void store(const ParameterSums<T>& to, int64_t item, int cols) const {
    if constexpr (kParts > 0) {
      Layout::each(cols, [&](int part, int col) {
        if (to.partial)
          store_floats<kN>(to.partial + item * cols + col, held_[part]);
        else
          store_floats<kN>(to.out + item * cols + col, held_[part]);
      });
    }
  }

 private:
  Floats<kN> held_[kParts > 0 ? kParts : 1];
  float* memory_;
};

template <class T, class Layout>
__global__ __launch_bounds__(Layout::kBlock,
                             256 / Layout::kBlock) void layer_norm_backward_kernel(T* dx, ParameterSums<T> dscale,
                                                                                   ParameterSums<T> dshift, const T* dy,
                                                                                   const float* mean, const float* rstd,
                                                                                   LayerNormRows<T> a, LayerNormChunks chunks) {
  constexpr int kN = Layout::kN;
  const int64_t item = Layout::row();
  if (item >= a.mod_rows * chunks.count) return;
  const int64_t m = item / chunks.count, begin = item % chunks.count * chunks.per_chunk;
  const int64_t end = begin + chunks.per_chunk < chunks.uses ? begin + chunks.per_chunk : chunks.uses;
  const float count = static_cast<float>(a.cols);
  ColumnSums<T, Layout> scale_sums(dscale.partial_row(item, a.cols)), shift_sums(dshift.partial_row(item, a.cols));
  RowValues<T, Layout> next_x, next_gradient;
  const auto load_next = [&](int64_t row) {
    next_x.load(a.x + row * a.cols, a.cols);
    next_gradient.load(dy + row * a.cols, a.cols);
  };
  if (begin < end) load_next(m + begin * a.mod_rows);
  for (int64_t use = begin; use < end; ++use) {
    const int64_t row = m + use * a.mod_rows;
    const RowValues<T, Layout> x = next_x, gradient = next_gradient;
    if (use + 1 < end) load_next(row + a.mod_rows);  // on its way while this row is worked on
    const float mu = mean[row], r = rstd[row];
    // g = dy·factor is the gradient in the normalised values.
    const auto times_factor = [&](Floats<kN>& g, int col) {
      if (!a.scale) return;
      const Floats<kN> scale = load_floats<kN>(a.scale + m * a.cols + col);
      for (int j = 0; j < kN; ++j) g.v[j] *= scale.v[j] + a.one;
    };
    float along = 0.0f, across = 0.0f;  // Σ g and Σ g·n
    Layout::each(a.cols, [&](int part, int col) {
      Floats<kN> n = x.get(part, col), g = gradient.get(part, col);
      if (dshift.wanted()) shift_sums.add(part, col, g, use == begin);
      for (int j = 0; j < kN; ++j) n.v[j] = (n.v[j] - mu) * r;
      if (dscale.wanted()) {
        Floats<kN> product;
        for (int j = 0; j < kN; ++j) product.v[j] = g.v[j] * n.v[j];
        scale_sums.add(part, col, product, use == begin);
      }
      times_factor(g, col);
      for (int j = 0; j < kN; ++j) {
        along += g.v[j];
        across += g.v[j] * n.v[j];
      }
    });
    if (!dx) continue;
    Layout::sum2(along, across);
    along /= count;
    across /= count;
    Layout::each(a.cols, [&](int part, int col) {
      const Floats<kN> v = x.get(part, col);
      Floats<kN> g = gradient.get(part, col);
      times_factor(g, col);
      for (int j = 0; j < kN; ++j) g.v[j] = r * (g.v[j] - along - (v.v[j] - mu) * r * across);
      store_floats<kN>(dx + row * a.cols + col, g);
    });
  }
  if (dscale.wanted()) scale_sums.store(dscale, item, a.cols);
  if (dshift.wanted()) shift_sums.store(dshift, item, a.cols);
}

// ----------------------------------------------------------------------------------------------------------------------------

// Two rows of values and two of sums share the registers: fewer elements a thread than in the forward.
template <class T, class F>
void with_gradient_rows(int64_t cols, bool vectors, F&& f) {
  with_vectors<T>(vectors, [&](auto n) {
    constexpr int kN = decltype(n)::value;
    if (cols <= 256) return f(RowLayout<kN, 32, 8 / kN>());
    if (cols <= 1024) return f(RowLayout<kN, 128, 8 / kN>());
    if (cols <= 2048) return f(RowLayout<kN, 256, 8 / kN>());
    if (cols <= 4096) return f(RowLayout<kN, 256, 16 / kN>());
    return f(RowLayout<kN, 256, 0>());
  });
}

// One use a chunk when no sums are wanted; otherwise about `kItems` chunks in all, of four uses or more.
LayerNormChunks layer_norm_chunks(const LayerNormBackwardArgs& a) {
  constexpr int64_t kItems = 1024, kLeast = 4;
  const int64_t uses = a.rows / a.mod_rows;
  const int64_t per_chunk = a.dscale || a.dshift ? std::max(kLeast, (a.rows + kItems - 1) / kItems) : 1;
  return {uses, per_chunk, (uses + per_chunk - 1) / per_chunk};
}

}  // namespace

void CudaBackend::layer_norm(const LayerNormArgs& a) {
  const int cols = checked_cols(a.cols, "layer_norm");
  if (cols == 0) return;
  dispatch_float(a.x.dtype, "layer_norm", [&](auto tag) {
    using T = decltype(tag);
    T* y = as<T>(a.y, "layer_norm");
    const LayerNormRows<T> rows{
        as<T>(a.x, "layer_norm"), as<T>(a.scale, "layer_norm"), as<T>(a.shift, "layer_norm"), a.rows, a.mod_rows, cols,
        a.affine ? 0.0f : 1.0f};
    with_rows<T>(cols, cols % kVector<T> == 0 && aligned(y, rows.x, rows.scale, rows.shift), [&](auto layout) {
      using Layout = decltype(layout);
      launch("layer_norm", layer_norm_kernel<T, Layout>, row_shape<Layout>(a.rows), stream(), y, a.mean.f32(), a.rstd.f32(), rows,
             a.eps);
    });
  });
}

void CudaBackend::layer_norm_backward(const LayerNormBackwardArgs& a) {
  const char* op = "layer_norm_backward";
  const int cols = checked_cols(a.cols, op);
  if (cols == 0) return;
  const LayerNormChunks chunks = layer_norm_chunks(a);
  dispatch_float(a.x.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    T *dx = as<T>(a.dx, op), *dscale = as<T>(a.dscale, op), *dshift = as<T>(a.dshift, op);
    const T* dy = as<T>(a.dy, op);
    const LayerNormRows<T> rows{as<T>(a.x, op), as<T>(a.scale, op), nullptr, a.rows, a.mod_rows, cols, a.affine ? 0.0f : 1.0f};
    const bool vectors = cols % kVector<T> == 0 && aligned(dx, dscale, dshift, dy, rows.x, rows.scale);
    with_gradient_rows<T>(cols, vectors, [&](auto layout) {
      using Layout = decltype(layout);
      const bool partial = chunks.count != 1 || Layout::kParts == 0;
      const int64_t sums = partial ? a.mod_rows * chunks.count * cols : 0;
      const Scratch scratch(*this, static_cast<size_t>(sums * ((dscale != nullptr) + (dshift != nullptr))) * sizeof(float));
      const auto target = [&](T* out, int64_t skip) -> ParameterSums<T> {
        if (!out) return {nullptr, nullptr};
        return partial ? ParameterSums<T>{nullptr, scratch.as<float>() + skip} : ParameterSums<T>{out, nullptr};
      };
      const ParameterSums<T> scale_sums = target(dscale, 0), shift_sums = target(dshift, dscale ? sums : 0);
      launch(op, layer_norm_backward_kernel<T, Layout>, row_shape<Layout>(a.mod_rows * chunks.count), stream(), dx, scale_sums,
             shift_sums, dy, a.mean.f32(), a.rstd.f32(), rows, chunks);
      if (scale_sums.partial) sum_over_rows(*this, op, a.dscale, scale_sums.partial, a.mod_rows, chunks.count, cols);
      if (shift_sums.partial) sum_over_rows(*this, op, a.dshift, shift_sums.partial, a.mod_rows, chunks.count, cols);
    });
  });
}

}  // namespace star
