#include "simt/cost.h"

#include <algorithm>
#include <initializer_list>

#include "simt/memory.h"

namespace star::simt {

namespace {

double product(std::initializer_list<int64_t> factors) {
  double result = 1;
  for (const int64_t factor : factors) result *= static_cast<double>(factor);
  return result;
}

// Elements of a tensor as bytes, nothing where it is not given.
double bytes_of(const CRef& ref, double count) { return ref ? count * static_cast<double>(dtype_size(ref.dtype)) : 0.0; }

std::string shape_text(std::initializer_list<int64_t> dims) {
  std::string text;
  for (const int64_t dim : dims) text += (text.empty() ? "" : "x") + std::to_string(dim);
  return text;
}

// Tensors of one size each.
Cost over(std::initializer_list<CRef> tensors, double count, DType dtype, std::initializer_list<int64_t> dims) {
  Cost cost{0, 0, dtype, shape_text(dims)};
  for (const CRef& tensor : tensors) cost.bytes += bytes_of(tensor, count);
  return cost;
}

Cost convolution(const ConvShape& s, CRef image, CRef weight, CRef result) {
  const double pixels = product({s.n, s.oh, s.ow}), window = product({s.group_in(), s.kh, s.kw});
  return {2 * pixels * window * static_cast<double>(s.c_out),
          bytes_of(image, product({s.n, s.h, s.w, s.c_in})) + bytes_of(weight, window * static_cast<double>(s.c_out)) +
              bytes_of(result, pixels * static_cast<double>(s.c_out)),
          image.dtype, shape_text({s.n, s.h, s.w, s.c_in, s.c_out, s.kh, s.kw, s.stride})};
}

// Pairs of a query and a key that it sees.
double pairs(const CRef& key_limit, int64_t lq, int64_t lk) {
  const auto count = static_cast<size_t>(lq);
  if (!key_limit || !DeviceMemory::instance().contains(key_limit.data, count * sizeof(int32_t))) return product({lq, lk});
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::min<double>(key_limit.i32()[i], static_cast<double>(lk));
  return sum;
}

}  // namespace

Cost cost_of(const MatmulArgs& a) {
  const auto matrices = [&](int64_t stride) { return static_cast<double>(stride == 0 ? 1 : a.batch); };
  const double results = product({a.batch, a.m, a.n});
  return {2 * product({a.batch, a.m, a.n, a.k}),
          bytes_of(a.a, matrices(a.a_stride) * product({a.m, a.k})) + bytes_of(a.b, matrices(a.b_stride) * product({a.k, a.n})) +
              bytes_of(a.c, (a.accumulate ? 2 : 1) * results) + bytes_of(a.pre_activation, results),
          a.a.dtype, shape_text({a.batch, a.m, a.n, a.k})};
}

Cost cost_of(const LinearBackwardInputArgs& a) {
  return {2 * product({a.rows, a.n, a.k}),
          bytes_of(a.dy, product({a.rows, a.n})) + bytes_of(a.w, product({a.n, a.k})) + bytes_of(a.dx, product({a.rows, a.k})) +
              bytes_of(a.sum, product({a.rows, a.k})),
          a.dy.dtype, shape_text({a.rows, a.n, a.k})};
}

Cost cost_of(const LinearBackwardWeightArgs& a) {
  return {2 * product({a.rows, a.n, a.k}),
          bytes_of(a.dy, product({a.rows, a.n})) + bytes_of(a.x, product({a.rows, a.k})) + bytes_of(a.dw, product({a.n, a.k})),
          a.dy.dtype, shape_text({a.rows, a.n, a.k})};
}

Cost cost_of(const QuantizeRowsArgs& a) { return over({a.q, a.x}, product({a.rows, a.cols}), a.x.dtype, {a.rows, a.cols}); }
Cost cost_of(const DequantizeRowsArgs& a) { return over({a.q, a.x}, product({a.rows, a.cols}), a.x.dtype, {a.rows, a.cols}); }
Cost cost_of(const LinearInt8Args& a) {
  return {2 * product({a.rows, a.n, a.k}),
          bytes_of(a.x, product({a.rows, a.k})) + bytes_of(a.w, product({a.n, a.k})) + bytes_of(a.y, product({a.rows, a.n})),
          DType::I8, shape_text({a.rows, a.n, a.k})};
}

Cost cost_of(const Conv2dArgs& a) { return convolution(a.s, a.x, a.weight, a.y); }
Cost cost_of(const Conv2dBackwardDataArgs& a) { return convolution(a.s, a.dx, a.weight, a.dy); }
Cost cost_of(const Conv2dBackwardWeightArgs& a) { return convolution(a.s, a.x, a.dweight, a.dy); }

Cost cost_of(const ResampleArgs& a) {
  return {0, bytes_of(a.x, product({a.n, a.h, a.w, a.c})) + bytes_of(a.y, product({a.n, a.oh, a.ow, a.c})), a.x.dtype,
          shape_text({a.n, a.h, a.w, a.c, a.oh, a.ow})};
}
Cost cost_of(const ResampleBackwardArgs& a) {
  return {0, bytes_of(a.dx, product({a.n, a.h, a.w, a.c})) + bytes_of(a.dy, product({a.n, a.oh, a.ow, a.c})), a.dy.dtype,
          shape_text({a.n, a.h, a.w, a.c, a.oh, a.ow})};
}

Cost cost_of(const BinaryArgs& a) {
  Cost cost = over({a.y, a.a}, product({a.outer, a.mid, a.inner}), a.a.dtype, {a.outer, a.mid, a.inner});
  cost.bytes += bytes_of(a.b, static_cast<double>(a.mid));
  return cost;
}
Cost cost_of(const AffineArgs& a) { return over({a.y, a.a, a.b}, static_cast<double>(a.count), a.a.dtype, {a.count}); }
Cost cost_of(const UnaryArgs& a) { return over({a.y, a.x}, static_cast<double>(a.count), a.x.dtype, {a.count}); }
Cost cost_of(const UnaryBackwardArgs& a) { return over({a.dx, a.dy, a.x}, static_cast<double>(a.count), a.x.dtype, {a.count}); }
Cost cost_of(const FillArgs& a) { return over({a.y}, static_cast<double>(a.count), a.y.dtype, {a.count}); }
Cost cost_of(const CastArgs& a) { return over({a.y, a.x}, static_cast<double>(a.count), a.x.dtype, {a.count}); }

Cost cost_of(const ReduceArgs& a) {
  Cost cost = over({a.x}, product({a.outer, a.mid, a.inner}), a.x.dtype, {a.outer, a.mid, a.inner});
  cost.bytes += bytes_of(a.y, static_cast<double>(a.mid));
  return cost;
}

Cost cost_of(const PermuteArgs& a) { return over({a.y, a.x}, static_cast<double>(a.dims.count()), a.x.dtype, {a.dims.count()}); }
Cost cost_of(const CopyBlockArgs& a) {
  return over({a.y, a.x}, product({a.outer, a.count, a.inner}), a.x.dtype, {a.outer, a.count, a.inner});
}
Cost cost_of(const RandomArgs& a) { return over({a.y}, static_cast<double>(a.count), a.y.dtype, {a.count}); }

Cost cost_of(const LayerNormArgs& a) {
  Cost cost = over({a.y, a.x}, product({a.rows, a.cols}), a.x.dtype, {a.rows, a.cols});
  for (const CRef& vector : {a.scale, a.shift}) cost.bytes += bytes_of(vector, product({a.mod_rows, a.cols}));
  return cost;
}
Cost cost_of(const LayerNormBackwardArgs& a) {
  Cost cost = over({a.dx, a.dy, a.x}, product({a.rows, a.cols}), a.x.dtype, {a.rows, a.cols});
  for (const CRef& vector : {CRef(a.dscale), CRef(a.dshift), a.scale})
    cost.bytes += bytes_of(vector, product({a.mod_rows, a.cols}));
  return cost;
}

// x is read for the moments and for the result.
Cost cost_of(const GroupNormArgs& a) { return over({a.y, a.x, a.x}, product({a.n, a.hw, a.c}), a.x.dtype, {a.n, a.hw, a.c}); }
Cost cost_of(const GroupNormBackwardArgs& a) {
  return over({a.dx, a.dy, a.x, a.dy, a.x}, product({a.n, a.hw, a.c}), a.x.dtype, {a.n, a.hw, a.c});
}

Cost cost_of(const SoftmaxArgs& a) { return over({a.y, a.x}, product({a.rows, a.cols}), a.x.dtype, {a.rows, a.cols}); }
Cost cost_of(const SoftmaxBackwardArgs& a) {
  return over({a.dx, a.dy, a.y}, product({a.rows, a.cols}), a.y.dtype, {a.rows, a.cols});
}

Cost cost_of(const HeadsArgs& a) {
  return over({a.out, a.x}, product({a.batch, a.length, a.heads, a.head_dim}), a.x.dtype,
              {a.batch, a.length, a.heads, a.head_dim});
}
Cost cost_of(const HeadsBackwardArgs& a) {
  return over({a.dx, a.dout, a.x}, product({a.batch, a.length, a.heads, a.head_dim}), a.x.dtype,
              {a.batch, a.length, a.heads, a.head_dim});
}

Cost cost_of(const AttentionArgs& a) {
  const double heads = product({a.batch, a.heads, a.head_dim});
  return {4 * heads * pairs(a.key_limit, a.lq, a.lk),
          bytes_of(a.q, heads * static_cast<double>(2 * a.lq)) + bytes_of(a.k, heads * static_cast<double>(2 * a.lk)), a.q.dtype,
          shape_text({a.batch, a.heads, a.lq, a.lk, a.head_dim})};
}
// Five products: q·kᵀ again, dout·vᵀ, and those that give dq, dk and dv.
Cost cost_of(const AttentionBackwardArgs& a) {
  const double heads = product({a.batch, a.heads, a.head_dim});
  return {10 * heads * pairs(a.key_limit, a.lq, a.lk),
          bytes_of(a.q, heads * static_cast<double>(4 * a.lq)) + bytes_of(a.k, heads * static_cast<double>(4 * a.lk)), a.q.dtype,
          shape_text({a.batch, a.heads, a.lq, a.lk, a.head_dim})};
}

Cost cost_of(const EmbeddingArgs& a) {
  return over({a.y, a.table}, product({a.count, a.cols}), a.table.dtype, {a.count, a.cols});
}
Cost cost_of(const EmbeddingBackwardArgs& a) {
  Cost cost = over({a.dy}, product({a.count, a.cols}), a.dy.dtype, {a.count, a.rows, a.cols});
  cost.bytes += bytes_of(a.dtable, product({a.rows, a.cols}));
  return cost;
}
Cost cost_of(const NearestRowArgs& a) {
  return {2 * product({a.rows, a.cols, a.vocab}),
          bytes_of(a.x, product({a.rows, a.cols})) + bytes_of(a.codebook, product({a.vocab, a.cols})), DType::F32,
          shape_text({a.rows, a.cols, a.vocab})};
}

Cost cost_of(const DrawArgs& a) {
  return over({a.logits, a.probabilities}, product({a.rows, a.vocab}), a.logits.dtype, {a.rows, a.vocab});
}
Cost cost_of(const GumbelMixArgs& a) {
  Cost cost = over({a.logits, a.noise}, product({a.rows, a.vocab}), DType::F32, {a.rows, a.vocab, a.cols});
  cost.operations = 2 * product({a.rows, a.vocab, a.cols});
  return cost;
}
Cost cost_of(const UnmaskArgs& a) {
  return over({a.ids, a.drawn, a.score}, product({a.rows, a.length}), DType::F32, {a.rows, a.length});
}

Cost cost_of(const RowDistancesArgs& a) {
  return over({a.x}, product({a.batch, a.length, a.cols}), a.x.dtype, {a.batch, a.length, a.cols});
}
Cost cost_of(const TopPositionsArgs& a) {
  return over({a.score}, product({a.rows, a.length}), DType::F32, {a.rows, a.length, a.keep});
}
Cost cost_of(const GatherRowsArgs& a) {
  return over({a.y, a.x}, product({a.batch, a.count, a.cols}), a.x.dtype, {a.batch, a.count, a.cols});
}
Cost cost_of(const ScatterRowsArgs& a) {
  return over({a.y, a.x}, product({a.batch, a.count, a.cols}), a.x.dtype, {a.batch, a.count, a.cols});
}

Cost cost_of(const CrossEntropyArgs& a) {
  return over({a.logits}, product({a.rows, a.vocab}), a.logits.dtype, {a.rows, a.vocab});
}
Cost cost_of(const CrossEntropyBackwardArgs& a) {
  return over({a.logits, a.dlogits}, product({a.rows, a.vocab}), a.logits.dtype, {a.rows, a.vocab});
}

namespace {
template <class Args>
Cost read_once(const Args& a) {
  Cost cost{};
  double total = 0;
  for (size_t i = 0; i < a.tensors.size(); ++i) {
    cost.bytes += bytes_of(a.tensors[i], static_cast<double>(a.counts[i]));
    cost.dtype = a.tensors[i].dtype;
    total += static_cast<double>(a.counts[i]);
  }
  cost.shape = shape_text({static_cast<int64_t>(a.tensors.size()), static_cast<int64_t>(total)});
  return cost;
}
}  // namespace

Cost cost_of(const GlobalNormArgs& a) { return read_once(a); }
Cost cost_of(const FiniteArgs& a) { return read_once(a); }
Cost cost_of(const AdamWArgs& a) {
  Cost cost{};
  double total = 0;
  for (const AdamWTensor& t : a.tensors) {
    const auto count = static_cast<double>(t.count);
    // Weight and both moments are read and written.
    cost.bytes += 2 * (bytes_of(t.param, count) + bytes_of(t.m, count) + bytes_of(t.v, count)) + bytes_of(t.grad, count) +
                  bytes_of(t.rounded, count);
    total += count;
  }
  cost.shape = shape_text({static_cast<int64_t>(a.tensors.size()), static_cast<int64_t>(total)});
  return cost;
}

}  // namespace star::simt
