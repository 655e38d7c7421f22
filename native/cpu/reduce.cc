// Reductions to the middle dimension. Sums run in float inside blocks of a fixed size and in double over the blocks, in order,
// so the result depends on neither the number of threads nor much on the length.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/reduce.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/vector-inl.h"
#include "cpu/widen.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

struct SumOp {
  static HWY_INLINE V32 add(V32 total, V32 x) { return hn::Add(total, x); }
  static HWY_INLINE V32 join(V32 a, V32 b) { return hn::Add(a, b); }
  static HWY_INLINE double join(double a, double b) { return a + b; }
  static constexpr float kStart = 0;
};
struct SumSquaresOp : SumOp {
  static HWY_INLINE V32 add(V32 total, V32 x) { return hn::MulAdd(x, x, total); }
};
struct SumAbsOp : SumOp {
  static HWY_INLINE V32 add(V32 total, V32 x) { return hn::Add(total, hn::Abs(x)); }
};
struct MaxOp {  // keeps a NaN wherever it stands
  static HWY_INLINE V32 add(V32 total, V32 x) { return hn::IfThenElse(hn::Or(hn::Gt(x, total), hn::IsNaN(x)), x, total); }
  static HWY_INLINE V32 join(V32 a, V32 b) { return add(a, b); }
  static HWY_INLINE double join(double a, double b) { return b > a || b != b ? b : a; }
  static constexpr float kStart = -std::numeric_limits<float>::infinity();
};

template <class Op>
HWY_INLINE double join_lanes(V32 v) {
  const F32 d;
  HWY_ALIGN float t[hn::MaxLanes(d)];
  hn::Store(v, d, t);
  double total = t[0];
  for (size_t i = 1; i < hn::Lanes(d); ++i) total = Op::join(total, static_cast<double>(t[i]));
  return total;
}

template <class Op>
double reduce_row_of(const float* x, int64_t count) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t block = 256 * lanes;  // 64 additions in a row to each running sum
  double total = Op::kStart;
  for (int64_t begin = 0; begin < count; begin += block) {
    const int64_t end = std::min(count, begin + block);
    V32 s0 = set(Op::kStart), s1 = s0, s2 = s0, s3 = s0;
    int64_t i = begin;
    for (; i + 4 * lanes <= end; i += 4 * lanes) {
      s0 = Op::add(s0, hn::LoadU(d, x + i));
      s1 = Op::add(s1, hn::LoadU(d, x + i + lanes));
      s2 = Op::add(s2, hn::LoadU(d, x + i + 2 * lanes));
      s3 = Op::add(s3, hn::LoadU(d, x + i + 3 * lanes));
    }
    for (; i + lanes <= end; i += lanes) s0 = Op::add(s0, hn::LoadU(d, x + i));
    if (i < end) {
      HWY_ALIGN float t[hn::MaxLanes(d)];
      hn::Store(set(Op::kStart), d, t);
      std::memcpy(t, x + i, static_cast<size_t>(end - i) * sizeof(float));
      s1 = Op::add(s1, hn::Load(d, t));
    }
    total = Op::join(total, join_lanes<Op>(Op::join(Op::join(s0, s1), Op::join(s2, s3))));
  }
  return total;
}

template <class Op>
struct Accumulate {
  HWY_INLINE V32 operator()(V32 total, V32 x) const { return Op::add(total, x); }
};

// totals[c] = reduction of x[r·stride + c] over `rows` rows.
template <class Op>
void reduce_columns_of(float* totals, const float* x, int64_t rows, int64_t stride, int64_t cols) {
  std::fill_n(totals, cols, Op::kStart);
  for (int64_t r = 0; r < rows; ++r) map2(totals, totals, x + r * stride, cols, Accumulate<Op>());
}

double reduce_row(ReduceOp op, const float* x, int64_t count) {
  switch (op) {
    case ReduceOp::Sum: return reduce_row_of<SumOp>(x, count);
    case ReduceOp::SumSquares: return reduce_row_of<SumSquaresOp>(x, count);
    case ReduceOp::SumAbs: return reduce_row_of<SumAbsOp>(x, count);
    case ReduceOp::Max: break;
  }
  return reduce_row_of<MaxOp>(x, count);
}

void reduce_columns(ReduceOp op, float* totals, const float* x, int64_t rows, int64_t stride, int64_t cols) {
  switch (op) {
    case ReduceOp::Sum: return reduce_columns_of<SumOp>(totals, x, rows, stride, cols);
    case ReduceOp::SumSquares: return reduce_columns_of<SumSquaresOp>(totals, x, rows, stride, cols);
    case ReduceOp::SumAbs: return reduce_columns_of<SumAbsOp>(totals, x, rows, stride, cols);
    case ReduceOp::Max: return reduce_columns_of<MaxOp>(totals, x, rows, stride, cols);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {
HWY_EXPORT(reduce_row);
HWY_EXPORT(reduce_columns);

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

double join(ReduceOp op, double a, double b) {
  if (op == ReduceOp::Max) return b > a || b != b ? b : a;
  return a + b;
}

double start(ReduceOp op) { return op == ReduceOp::Max ? -std::numeric_limits<double>::infinity() : 0.0; }

// Rows of `inner` elements: one partial result for each (chunk of outer, m, block of inner).
void reduce_rows(const ReduceArgs& args, int64_t outer, int64_t mid, int64_t inner) {
  constexpr int64_t kWork = 32768;
  float* y = args.y.f32();
  const float* x = args.x.f32();
  const int64_t block = std::min(inner, kWork), blocks = ceil_div(inner, block);
  const int64_t group = std::min(outer, std::max<int64_t>(1, kWork / block)), groups = ceil_div(outer, group);
  std::vector<double> partial(static_cast<size_t>(groups * mid * blocks));
  const int64_t items = static_cast<int64_t>(partial.size());
  parallel_chunks(items, std::max<int64_t>(1, kWork / (group * block)), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item % blocks, m = item / blocks % mid, g = item / (blocks * mid);
      const int64_t first = b * block, length = std::min(inner - first, block);
      double total = start(args.op);
      for (int64_t o = g * group; o < std::min(outer, (g + 1) * group); ++o)
        total = join(args.op, total, HWY_DYNAMIC_DISPATCH(reduce_row)(args.op, x + (o * mid + m) * inner + first, length));
      partial[static_cast<size_t>(item)] = total;
    }
  });
  for (int64_t m = 0; m < mid; ++m) {
    double total = start(args.op);
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t b = 0; b < blocks; ++b) total = join(args.op, total, partial[static_cast<size_t>((g * mid + m) * blocks + b)]);
    y[m] = static_cast<float>(args.scale * total);
  }
}

// Columns of a (rows, mid) matrix: one partial row for each chunk of rows.
void reduce_matrix(const ReduceArgs& args, int64_t rows, int64_t mid) {
  constexpr int64_t kWork = 65536, kCols = 4096;
  float* y = args.y.f32();
  const float* x = args.x.f32();
  // Narrow rows are taken several at a time, as one row of `fold` times the width, and folded at the end.
  const int64_t fold = mid >= 64 ? 1 : std::min(std::max<int64_t>(1, rows), 256 / mid);
  const int64_t width = mid * fold, wide_rows = rows / fold, rest = rows - wide_rows * fold;
  const int64_t chunk = std::clamp<int64_t>(kWork / width, 16, 256), chunks = ceil_div(wide_rows, chunk);
  const int64_t col_blocks = ceil_div(width, kCols);
  std::vector<float> partial(static_cast<size_t>(chunks * width));
  parallel_chunks(chunks * col_blocks, 1, [&](int64_t item, int64_t, int64_t) {
    const int64_t r = item / col_blocks * chunk, c = item % col_blocks * kCols;
    HWY_DYNAMIC_DISPATCH(reduce_columns)
    (args.op, partial.data() + item / col_blocks * width + c, x + r * width + c, std::min(chunk, wide_rows - r), width,
     std::min(kCols, width - c));
  });
  parallel_for(mid, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m) {
      double total = start(args.op);
      for (int64_t k = 0; k < chunks; ++k)
        for (int64_t f = 0; f < fold; ++f) total = join(args.op, total, partial[static_cast<size_t>(k * width + f * mid + m)]);
      for (int64_t r = rows - rest; r < rows; ++r)
        total = join(args.op, total, HWY_DYNAMIC_DISPATCH(reduce_row)(args.op, x + r * mid + m, 1));
      y[m] = static_cast<float>(args.scale * total);
    }
  });
}

}  // namespace

void CpuBackend::reduce(const ReduceArgs& args) {
  if (is_half(args.x.dtype)) return widened(*this, "reduce", args.x.dtype, args, &CpuBackend::reduce);
  if (args.mid == 0) return;
  if (args.outer * args.inner == 0) {
    std::fill_n(args.y.f32(), args.mid, static_cast<float>(args.scale * start(args.op)));
  } else if (args.mid == 1) {
    reduce_rows(args, 1, 1, args.outer * args.inner);
  } else if (args.inner == 1) {
    reduce_matrix(args, args.outer, args.mid);
  } else {
    reduce_rows(args, args.outer, args.mid, args.inner);
  }
}

}  // namespace star
#endif  // HWY_ONCE
