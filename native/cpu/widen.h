// Ops on 16-bit floats by way of f32: inputs are copied to f32, the op runs on the copies, outputs are rounded once at the end.
// What an op reads and writes stands in one table here, so that op bodies know f32 only. Ops that work row by row go through
// blocks of rows that stay in the cache, the others through copies of their whole tensors from the backend's pool.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/half.h"
#include "cpu/parallel.h"
#include "cpu/scratch.h"

namespace star {

// `f` learns an op's tensors: in/out with the element count of the whole; rows with the number of rows that can be computed
// apart (`unit` of them at a time) and row_in/row_out/row with the elements a row. `row` is for tensors of other fixed types.
template <class F>
void tensors_of(F& f, UnaryArgs& a) {
  f.rows(a.count, 1);
  f.row_out(a.y, 1);
  f.row_in(a.x, 1);
}
template <class F>
void tensors_of(F& f, UnaryBackwardArgs& a) {
  f.rows(a.count, 1);
  f.row_out(a.dx, 1);
  f.row_in(a.dy, 1);
  f.row_in(a.x, 1);
}
template <class F>
void tensors_of(F& f, AffineArgs& a) {
  f.rows(a.count, 1);
  f.row_out(a.y, 1);
  f.row_in(a.a, 1);
  f.row_in(a.b, 1);
}
template <class F>
void tensors_of(F& f, BinaryArgs& a) {
  if (a.outer == 1) {
    f.rows(a.mid, 1);
    f.row_out(a.y, a.inner);
    f.row_in(a.a, a.inner);
    f.row_in(a.b, 1);
  } else {
    f.rows(a.outer, 1);
    f.row_out(a.y, a.mid * a.inner);
    f.row_in(a.a, a.mid * a.inner);
    f.in(a.b, a.mid);
  }
}
template <class F>
void tensors_of(F& f, ReduceArgs& a) {
  f.out(a.y, a.mid);
  f.in(a.x, a.outer * a.mid * a.inner);
}
template <class F>
void tensors_of(F& f, SoftmaxArgs& a) {
  f.rows(a.rows, 1);
  f.row_out(a.y, a.cols);
  f.row_in(a.x, a.cols);
}
template <class F>
void tensors_of(F& f, SoftmaxBackwardArgs& a) {
  f.rows(a.rows, 1);
  f.row_out(a.dx, a.cols);
  f.row_in(a.dy, a.cols);
  f.row_in(a.y, a.cols);
}
template <class F>
void tensors_of(F& f, LayerNormArgs& a) {
  f.rows(a.rows, a.mod_rows);
  f.row_out(a.y, a.cols);
  f.row(a.mean, 1);
  f.row(a.rstd, 1);
  f.row_in(a.x, a.cols);
  f.in(a.scale, a.mod_rows * a.cols);
  f.in(a.shift, a.mod_rows * a.cols);
}
template <class F>
void tensors_of(F& f, LayerNormBackwardArgs& a) {
  f.out(a.dx, a.rows * a.cols);
  f.out(a.dscale, a.mod_rows * a.cols);
  f.out(a.dshift, a.mod_rows * a.cols);
  f.in(a.dy, a.rows * a.cols);
  f.in(a.x, a.rows * a.cols);
  f.in(a.scale, a.mod_rows * a.cols);
}
template <class F>
void tensors_of(F& f, Conv2dArgs& a) {
  f.out(a.y, a.s.n * a.s.oh * a.s.ow * a.s.c_out);
  f.in(a.x, a.s.n * a.s.h * a.s.w * a.s.c_in);
  f.in(a.weight, a.s.weight_count());
  f.in(a.bias, a.s.c_out);
}
template <class F>
void tensors_of(F& f, Conv2dBackwardDataArgs& a) {
  f.out(a.dx, a.s.n * a.s.h * a.s.w * a.s.c_in);
  f.in(a.dy, a.s.n * a.s.oh * a.s.ow * a.s.c_out);
  f.in(a.weight, a.s.weight_count());
}
template <class F>
void tensors_of(F& f, Conv2dBackwardWeightArgs& a) {
  f.out(a.dweight, a.s.weight_count());
  f.out(a.dbias, a.s.c_out);
  f.in(a.dy, a.s.n * a.s.oh * a.s.ow * a.s.c_out);
  f.in(a.x, a.s.n * a.s.h * a.s.w * a.s.c_in);
}
template <class F>
void tensors_of(F& f, ResampleArgs& a) {
  f.out(a.y, a.n * a.oh * a.ow * a.c);
  f.in(a.x, a.n * a.h * a.w * a.c);
}
template <class F>
void tensors_of(F& f, ResampleBackwardArgs& a) {
  f.out(a.dx, a.n * a.h * a.w * a.c);
  f.in(a.dy, a.n * a.oh * a.ow * a.c);
}
template <class F>
void tensors_of(F& f, EmbeddingBackwardArgs& a) {
  f.out(a.dtable, a.rows * a.cols);
  f.in(a.dy, a.count * a.cols);
}
template <class F>
void tensors_of(F& f, NearestRowArgs& a) {
  f.in(a.x, a.rows * a.cols);
  f.in(a.codebook, a.vocab * a.cols);
}
template <class F>
void tensors_of(F& f, RowDistancesArgs& a) {
  f.in(a.x, a.batch * a.length * a.cols);
  f.in(a.center, a.batch * a.cols);
}
template <class F>
void tensors_of(F& f, DrawArgs& a) {  // whole: its errors name rows
  f.in(a.logits, a.rows * a.vocab);
}
template <class F>
void tensors_of(F& f, GumbelMixArgs& a) {
  f.out(a.y, a.rows * a.cols);
  f.in(a.logits, a.rows * a.vocab);
  f.in(a.codebook, a.vocab * a.cols);
}
template <class F>
void tensors_of(F& f, CrossEntropyArgs& a) {  // whole: its errors name rows
  f.in(a.logits, a.rows * a.vocab);
}
template <class F>
void tensors_of(F& f, CrossEntropyBackwardArgs& a) {
  f.rows(a.rows, 1);
  f.row_out(a.dlogits, a.vocab);
  f.row(a.dlosses, 1);
  f.row_in(a.logits, a.vocab);
  f.row(a.lse, 1);
  f.row(a.targets, 1);
}
template <class F>
void tensors_of(F& f, LinearBackwardInputArgs& a) {
  f.out(a.dx, a.rows * a.k);
  f.in(a.dy, a.rows * a.n);
  f.in(a.w, a.n * a.k);
  f.in(a.sum, a.rows * a.k);
}
template <class F>
void tensors_of(F& f, MatmulArgs& a) {
  const auto matrices = [&](int64_t stride) { return stride ? a.batch : 1; };
  const int64_t count = a.batch * a.m * a.n;
  if (a.accumulate)
    f.in_out(a.c, count);
  else
    f.out(a.c, count);
  f.out(a.pre_activation, count);
  f.in(a.a, matrices(a.a_stride) * a.m * a.k);
  f.in(a.b, matrices(a.b_stride) * a.n * a.k);
  f.in(a.bias, a.n);
}

// f32 copies of the tensors of a whole call, from the backend's pool.
class WideTensors {
 public:
  WideTensors(CpuBackend& backend, const char* op, DType dtype) : backend_(backend), op_(op), dtype_(dtype) {}
  ~WideTensors() {
    for (const Copy& copy : copies_) backend_.release(copy.wide, bytes(copy.count));
  }
  WideTensors(const WideTensors&) = delete;
  WideTensors& operator=(const WideTensors&) = delete;

  void in(CRef& x, int64_t count) {
    if (!x) return;
    const CRef given = x;
    x = replace(given, {}, count);
    backend_.cast({{const_cast<void*>(x.data), DType::F32}, given, count});
  }
  void out(Ref& y, int64_t count) {
    if (y) y = replace(y, y, count);
  }
  // Space for `count` floats.
  Ref space(int64_t count) {
    copies_.reserve(copies_.size() + 1);  // before the allocation, so that nothing is lost when it throws
    copies_.push_back({backend_.allocate(bytes(count)), {}, count});
    return {copies_.back().wide, DType::F32};
  }
  void in_out(Ref& y, int64_t count) {
    const CRef given = y;
    out(y, count);
    backend_.cast({y, given, count});
  }
  void rows(int64_t& count, int64_t unit) { row_count = count, row_unit = unit; }
  void row(const CRef&, int64_t) {}
  void row_in(const CRef& x, int64_t count) { note_row(x, count); }
  void row_out(const CRef& y, int64_t count) { note_row(y, count); }

  void finish() {
    for (const Copy& copy : copies_)
      if (copy.target) backend_.cast({copy.target, {copy.wide, DType::F32}, copy.count});
  }

  int64_t row_count = -1, row_unit = 1, row_width = 1;  // −1: the op is one piece

 private:
  struct Copy {
    void* wide;
    Ref target;  // of an output
    int64_t count;
  };
  static size_t bytes(int64_t count) { return static_cast<size_t>(count) * sizeof(float); }

  Ref replace(const CRef& given, const Ref& target, int64_t count) {
    expect_like_others(given, dtype_, op_);
    const Ref wide = space(count);
    copies_.back().target = target;
    return wide;
  }
  void note_row(const CRef& ref, int64_t count) {
    expect_like_others(ref, dtype_, op_);
    row_width = std::max(row_width, count);
  }

  CpuBackend& backend_;
  const char* op_;
  const DType dtype_;
  std::vector<Copy> copies_;
};

// The tensors of rows [begin, end) of a call, in memory of the running thread.
class WideRows {
 public:
  WideRows(CpuBackend& backend, const char* op, int64_t begin, int64_t end)
      : backend_(backend), op_(op), begin_(begin), count_(end - begin) {}

  void in(const CRef&, int64_t) {}
  void out(const Ref&, int64_t) {}
  void in_out(const Ref&, int64_t) {}
  void rows(int64_t& count, int64_t) { count = count_; }
  template <class R>
  void row(R& x, int64_t width) {
    if (x) x = advanced(x, width);
  }
  void row_in(CRef& x, int64_t width) {
    if (!x) return;
    const CRef given = advanced(x, width);
    const Ref wide = next(width);
    backend_.cast({wide, given, count_ * width});
    x = wide;
  }
  void row_out(Ref& y, int64_t width) {
    if (!y) return;
    targets_[used_] = advanced(y, width);
    widths_[used_] = width;
    y = next(width);
  }
  void finish() {
    for (int i = 0; i < used_; ++i)
      if (targets_[i]) backend_.cast({targets_[i], {memory()[i].floats(op_, 0), DType::F32}, count_ * widths_[i]});
  }

 private:
  static constexpr int kMost = 4;  // tensors of rows an op has
  static Scratch* memory() {
    thread_local Scratch memory[kMost];
    return memory;
  }
  Ref next(int64_t width) { return {memory()[used_++].floats(op_, static_cast<size_t>(count_ * width)), DType::F32}; }
  template <class R>
  R advanced(R x, int64_t width) const {
    const auto offset = static_cast<size_t>(begin_ * width) * dtype_size(x.dtype);
    return {static_cast<char*>(const_cast<void*>(static_cast<const void*>(x.data))) + offset, x.dtype};
  }

  CpuBackend& backend_;
  const char* op_;
  const int64_t begin_, count_;
  int used_ = 0;
  Ref targets_[kMost];
  int64_t widths_[kMost] = {};
};

// Runs an op whose float tensors are f16 or bf16 on f32 copies of them.
template <class Args>
void widened(CpuBackend& backend, const char* op, DType dtype, const Args& given, void (CpuBackend::*run)(const Args&)) {
  constexpr int64_t kBlock = 16384;  // elements: a few tensors of that size stay in the second-level cache
  Args args = given;
  WideTensors whole(backend, op, dtype);
  tensors_of(whole, args);
  if (whole.row_count < 0) {
    (backend.*run)(args);
  } else {
    const int64_t unit = std::max<int64_t>(1, whole.row_unit);
    const int64_t block = unit * std::max<int64_t>(1, kBlock / std::max<int64_t>(1, unit * whole.row_width));
    parallel_chunks(whole.row_count, block, [&](int64_t, int64_t begin, int64_t end) {
      Args part = args;
      WideRows rows(backend, op, begin, end);
      tensors_of(rows, part);
      (backend.*run)(part);
      rows.finish();
    });
  }
  whole.finish();
}

}  // namespace star
