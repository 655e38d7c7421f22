// Reductions to the middle dimension of (outer, mid, inner), in one or two passes whose order of additions is fixed.
#include "cuda/columns.h"
#include "cuda/cuda_backend.h"
#include "cuda/dispatch.h"
#include "cuda/rows.h"

namespace star {

namespace {

struct SumOp {
  static constexpr bool kMax = false;
  __device__ __forceinline__ static float value(float x) { return x; }
};
struct SumSquaresOp : SumOp {
  __device__ __forceinline__ static float value(float x) { return x * x; }
};
struct SumAbsOp : SumOp {
  __device__ __forceinline__ static float value(float x) { return fabsf(x); }
};
struct MaxOp : SumOp {
  static constexpr bool kMax = true;
};

template <bool kMax>
struct Joined {  // a maximum keeps a NaN wherever it stands
  static constexpr float kStart = kMax ? -INFINITY : 0.0f;
  __device__ __forceinline__ float operator()(float a, float b) const {
    if constexpr (kMax) {
      return b > a || b != b ? b : a;
    } else {
      return a + b;
    }
  }
};

// Result number `at` of a pass: the first of two passes keeps float, the last one scales and rounds.
template <class Y>
struct ReduceResult {
  float* partial;  // nullptr in the last pass
  Y* y;
  float scale;
  __device__ __forceinline__ void store(int64_t at, float total) const {
    if (partial)
      partial[at] = total;
    else
      y[at] = from_float<Y>(scale * total);
  }
};

// A warp or a block for each (m, piece): elements [piece·length, …) of the outer·inner elements with that m.
template <class X, class Y, class Op, class Layout>
__global__ __launch_bounds__(Layout::kBlock) void reduce_rows_kernel(ReduceResult<Y> result, const X* x, int64_t items,
                                                                     int64_t pieces, int64_t length, int64_t count, int64_t mid,
                                                                     int64_t inner) {
  constexpr int kN = Layout::kN;
  const Joined<Op::kMax> join;
  const int64_t item = Layout::row();
  if (item >= items) return;
  const int64_t m = item / pieces, begin = item % pieces * length;
  const int cols = static_cast<int>(count - begin < length ? count - begin : length);
  float total = join.kStart;
  Layout::template sweep<4>(
      cols,
      [&](int col) {
        const int64_t e = begin + col;
        return load_vector<kN>(x + (mid == 1 ? e : (e / inner * mid + m) * inner + e % inner));
      },
      [&](const Vector<X, kN>& raw, int) {
        const Floats<kN> a = to_floats(raw);
        for (int j = 0; j < kN; ++j) total = join(total, Op::value(a.v[j]));
      });
  total = Layout::join(total, join);
  if (Layout::thread() == 0) result.store(item, total);
}

// A block for each (batch, range of rows) and tile of columns of x (batch, rows, cols).
template <class X, class Y, class Op, int kN>
__global__ __launch_bounds__(kColumnThreads, 4) void reduce_columns_kernel(ReduceResult<Y> result, const X* x, ColumnTile tile,
                                                                           RowRanges ranges, int64_t rows, int64_t cols) {
  const Joined<Op::kMax> join;
  const ColumnPlace place(tile, kN, cols);
  const int64_t item = tile.item(), range = item % ranges.count, batch = item / ranges.count;
  Floats<kN> total;
  for (int j = 0; j < kN; ++j) total.v[j] = join.kStart;
  if (place.active) {
    const int64_t end = rows < (range + 1) * ranges.length ? rows : (range + 1) * ranges.length;
    const X* matrix = x + batch * rows * cols + place.col;
    each_row<4>(
        range * ranges.length + place.row, end, tile.rows(), [&](int64_t r) { return load_vector<kN>(matrix + r * cols); },
        [&](const Vector<X, kN>& raw, int64_t) {
          const Floats<kN> a = to_floats(raw);
          for (int j = 0; j < kN; ++j) total.v[j] = join(total.v[j], Op::value(a.v[j]));
        });
  }
  join_tile_rows(total, tile, place, join);
  if (place.active && place.row == 0)
    for (int j = 0; j < kN; ++j) result.store(item * cols + place.col + j, total.v[j]);
}

template <class Y>
__global__ void reduce_nothing_kernel(Y* y, int64_t mid, float value) {
  const int64_t m = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (m < mid) y[m] = from_float<Y>(value);
}

// ----------------------------------------------------------------------------------------------------------------------------

template <class F>
void with_op(ReduceOp op, F&& f) {
  switch (op) {
    case ReduceOp::Sum: return f(SumOp());
    case ReduceOp::SumSquares: return f(SumSquaresOp());
    case ReduceOp::SumAbs: return f(SumAbsOp());
    case ReduceOp::Max: return f(MaxOp());
  }
}

// What is left to do with the results of a first pass.
template <class Op>
using SecondOp = std::conditional_t<Op::kMax, MaxOp, SumOp>;

template <class X, class Y, class Op>
void reduce_rows(CudaBackend& backend, Y* y, const X* x, float scale, int64_t outer, int64_t mid, int64_t inner) {
  constexpr int64_t kPiece = 16384;
  const int64_t count = outer * inner, pieces = (count + kPiece - 1) / kPiece, length = std::min(count, kPiece);
  // The places of a vector must lie side by side, whatever piece it is in.
  const bool vectors = aligned(x) && (mid == 1 ? count : inner) % kVector<X> == 0;
  const auto pass = [&](auto layout, const ReduceResult<Y>& result) {
    using Layout = decltype(layout);
    launch("reduce", reduce_rows_kernel<X, Y, Op, Layout>, row_shape<Layout>(mid * pieces), backend.stream(), result, x,
           mid * pieces, pieces, length, count, mid, inner);
  };
  with_vectors<X>(vectors, [&](auto n) {
    constexpr int kN = decltype(n)::value;
    if (count <= 1024) return pass(RowLayout<kN, kWarp, 0>(), {nullptr, y, scale});
    if (pieces == 1) return pass(RowLayout<kN, 256, 0>(), {nullptr, y, scale});
    const Scratch partial(backend, static_cast<size_t>(mid * pieces) * sizeof(float));
    pass(RowLayout<kN, 256, 0>(), {partial.as<float>(), nullptr, 1.0f});
    reduce_rows<float, Y, SecondOp<Op>>(backend, y, partial.as<float>(), scale, 1, mid, pieces);
  });
}

template <class X, class Y, class Op>
void reduce_columns(CudaBackend& backend, const char* op, Y* y, const X* x, float scale, int64_t batch, int64_t rows,
                    int64_t cols) {
  with_vectors<X>(aligned(x) && cols % kVector<X> == 0, [&](auto n) {
    constexpr int kN = decltype(n)::value;
    const ColumnTile tile = column_tile(cols, kN);
    const RowRanges ranges = row_ranges(rows, tile, rows <= 64 * tile.rows() ? 64 : 8, 256);
    const auto pass = [&](const ReduceResult<Y>& result) {
      launch(op, reduce_columns_kernel<X, Y, Op, kN>, column_shape(batch * ranges.count, tile), backend.stream(), result, x, tile,
             ranges, rows, cols);
    };
    if (ranges.count == 1) return pass({nullptr, y, scale});
    const Scratch partial(backend, static_cast<size_t>(batch * ranges.count * cols) * sizeof(float));
    pass({partial.as<float>(), nullptr, 1.0f});
    reduce_columns<float, Y, SecondOp<Op>>(backend, op, y, partial.as<float>(), scale, batch, ranges.count, cols);
  });
}

}  // namespace

void sum_over_rows(CudaBackend& backend, const char* op, const Ref& y, const float* x, int64_t batch, int64_t rows,
                   int64_t cols) {
  dispatch_float(y.dtype, op, [&](auto tag) {
    using Y = decltype(tag);
    reduce_columns<float, Y, SumOp>(backend, op, as<Y>(y, op), x, 1.0f, batch, rows, cols);
  });
}

void CudaBackend::reduce(const ReduceArgs& a) {
  if (a.mid == 0) return;
  dispatch_float(a.x.dtype, "reduce", [&](auto tag) {
    using T = decltype(tag);
    T* y = as<T>(a.y, "reduce");
    const T* x = as<T>(a.x, "reduce");
    if (a.outer * a.inner == 0) {
      const float nothing = a.scale * (a.op == ReduceOp::Max ? -INFINITY : 0.0f);
      return launch("reduce", reduce_nothing_kernel<T>, {dim3(blocks_for(a.mid, 256)), dim3(256)}, stream(), y, a.mid, nothing);
    }
    with_op(a.op, [&](auto op) {
      using Op = decltype(op);
      if (a.mid > 1 && a.inner == 1) return reduce_columns<T, T, Op>(*this, "reduce", y, x, a.scale, 1, a.outer, a.mid);
      reduce_rows<T, T, Op>(*this, y, x, a.scale, a.outer, a.mid, a.inner);
    });
  });
}

}  // namespace star
