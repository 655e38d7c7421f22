// Rows in 8 bits with a scale each, and the linear layer on them. Where the processor multiplies bytes (VNNI), oneDNN multiplies
// whole numbers, and scales, bias and gelu are done as it writes the product. Elsewhere, where its products of bytes saturate or
// are slow, the same whole numbers are multiplied in f32.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/int8.cc"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include <limits>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/dnnl_support.h"
#include "cpu/half-inl.h"
#include "cpu/parallel.h"
#include "dnnl/describe.h"

HWY_BEFORE_NAMESPACE();
namespace star {
namespace HWY_NAMESPACE {

template <class T>
void quantize_row(int8_t* q, float* scale, const T* x, int64_t cols) {
  const F32 d;
  const hn::Rebind<int8_t, F32> d8;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V32 most = hn::Zero(d), strange = hn::Zero(d);  // `strange` becomes NaN where an element is no finite number
  const auto look = [&](V32 v) {
    most = hn::Max(most, hn::Abs(v));
    strange = hn::MulAdd(v, hn::Zero(d), strange);
  };
  int64_t i = 0;
  for (; i + lanes <= cols; i += lanes) look(load_wide(x + i));
  if (i < cols) look(load_wide(x + i, cols - i));
  const float largest = hn::GetLane(hn::MaxOfLanes(d, most));
  const bool finite = lanes_sum(strange) == 0.0, usable = finite && largest >= kSmallestRow;
  *scale = usable ? largest / 127.0f : finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  const V32 factor = set(usable ? 127.0f / largest : 0.0f);
  const auto rounded = [&](V32 v) { return hn::DemoteTo(d8, hn::NearestInt(usable ? hn::Mul(v, factor) : hn::Zero(d))); };
  for (i = 0; i + lanes <= cols; i += lanes) hn::StoreU(rounded(load_wide(x + i)), d8, q + i);
  if (i < cols) {
    HWY_ALIGN int8_t rest[hn::MaxLanes(d)];
    hn::Store(rounded(load_wide(x + i, cols - i)), d8, rest);
    std::memcpy(q + i, rest, static_cast<size_t>(cols - i));
  }
}

template <class T>
void dequantize_row(T* x, const int8_t* q, float scale, int64_t cols) {
  const F32 d;
  const hn::RebindToSigned<F32> d32;
  const hn::Rebind<int8_t, F32> d8;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const V32 factor = set(scale);
  const auto wide = [&](const int8_t* from) {
    return hn::Mul(hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, from))), factor);
  };
  int64_t i = 0;
  for (; i + lanes <= cols; i += lanes) store_narrow(wide(q + i), x + i);
  if (i < cols) {
    HWY_ALIGN int8_t rest[hn::MaxLanes(d)] = {};
    std::memcpy(rest, q + i, static_cast<size_t>(cols - i));
    store_narrow(wide(rest), x + i, cols - i);
  }
}

void quantize_range(const QuantizeRowsArgs& a, int64_t begin, int64_t end) {
  const auto rows = [&](auto tag) {
    using T = decltype(tag);
    for (int64_t r = begin; r < end; ++r)
      quantize_row(a.q.i8() + r * a.cols, a.scale.f32() + r, static_cast<const T*>(a.x.data) + r * a.cols, a.cols);
  };
  with_float_type(a.x.dtype, "quantize_rows", rows);
}

void dequantize_range(const DequantizeRowsArgs& a, int64_t begin, int64_t end) {
  const auto rows = [&](auto tag) {
    using T = decltype(tag);
    for (int64_t r = begin; r < end; ++r)
      dequantize_row(static_cast<T*>(a.x.data) + r * a.cols, a.q.i8() + r * a.cols, a.scale.f32()[r], a.cols);
  };
  with_float_type(a.x.dtype, "dequantize_rows", rows);
}

}  // namespace HWY_NAMESPACE
}  // namespace star
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace star {

namespace {

HWY_EXPORT(quantize_range);
HWY_EXPORT(dequantize_range);

using dnnl::memory;

struct Int8Plan {
  dnnl::matmul primitive;
  memory::desc x, w, y, row, column, scratchpad;
};

// Whether oneDNN's products of bytes are exact and fast here.
bool multiplies_bytes() {
  static const bool yes = [] {
    const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
    const auto vnni = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_vnni);
    return (isa & vnni) == vnni;
  }();
  return yes;
}

// Post-operations in the order in which they are done: · a row's scale, · a column's scale, + bias, gelu.
Int8Plan make_plan(const LinearInt8Args& a, DType y_type) {
  Int8Plan plan;
  // In three dimensions: for two there is no fast product with a factor a row.
  plan.x = memory::desc({1, a.rows, a.k}, memory::data_type::s8, memory::format_tag::abc);
  plan.w = memory::desc({1, a.k, a.n}, memory::data_type::s8, memory::format_tag::acb);
  plan.y = memory::desc({1, a.rows, a.n}, y_type == DType::BF16 ? memory::data_type::bf16 : memory::data_type::f32,
                        memory::format_tag::abc);
  plan.row = memory::desc({1, a.rows, 1}, memory::data_type::f32, memory::format_tag::abc);
  plan.column = memory::desc({1, 1, a.n}, memory::data_type::f32, memory::format_tag::abc);
  dnnl::post_ops post;
  post.append_binary(dnnl::algorithm::binary_mul, plan.row);
  post.append_binary(dnnl::algorithm::binary_mul, plan.column);
  if (a.bias) post.append_binary(dnnl::algorithm::binary_add, plan.column);
  if (a.activation == Activation::Gelu) append_activation(post, dnnl::algorithm::eltwise_gelu_tanh);
  dnnl::primitive_attr attributes = dnnl_attributes();
  attributes.set_post_ops(post);
  const auto description = describe_primitive<dnnl::matmul>(dnnl_engine(), attributes, plan.x, plan.w, plan.y);
  plan.scratchpad = description.scratchpad_desc();
  plan.primitive = dnnl::matmul(description);
  return plan;
}

PlanCache<Int8Plan>& plans() {
  static PlanCache<Int8Plan> cache(512);
  return cache;
}

int64_t grain(int64_t cols) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, cols)); }

}  // namespace

void CpuBackend::quantize_rows(const QuantizeRowsArgs& a) {
  parallel_for(a.rows, grain(a.cols), [&](int64_t begin, int64_t end) { HWY_DYNAMIC_DISPATCH(quantize_range)(a, begin, end); });
}

void CpuBackend::dequantize_rows(const DequantizeRowsArgs& a) {
  parallel_for(a.rows, grain(a.cols), [&](int64_t begin, int64_t end) { HWY_DYNAMIC_DISPATCH(dequantize_range)(a, begin, end); });
}

void CpuBackend::linear_int8(const LinearInt8Args& a) {
  const DType dtype = a.x.dtype;
  for (const CRef& ref : {CRef(a.y), a.bias}) expect_like_others(ref, dtype, "linear_int8");
  if (a.rows == 0 || a.n == 0) return;
  const auto floats = [](int64_t count) { return static_cast<size_t>(count) * sizeof(float); };
  // What is not written in the type of y is written in f32 first.
  const bool whole = multiplies_bytes() && a.k > 0;
  const DType y_type = whole && dtype == DType::BF16 ? dtype : DType::F32;
  const bool narrow = y_type != dtype;
  const Workspace wide_y(allocator_, narrow ? floats(a.rows * a.n) : 0),
      wide_bias(allocator_, dtype == DType::F32 ? 0 : floats(a.n));
  const Ref y = narrow ? Ref{wide_y.data(), DType::F32} : a.y;
  CRef bias = a.bias;
  if (bias && dtype != DType::F32) {
    cast({{wide_bias.data(), DType::F32}, bias, a.n});
    bias = {wide_bias.data(), DType::F32};
  }
  const Workspace bytes(allocator_, static_cast<size_t>(a.rows * a.k)), scales(allocator_, floats(a.rows));
  const Ref x8{bytes.data(), DType::I8}, scale{scales.data(), DType::F32};
  quantize_rows({x8, scale, a.x, a.rows, a.k});
  if (whole) {
    dnnl_guard("linear_int8", [&] {
      const bool gelu = a.activation == Activation::Gelu;
      const PlanCache<Int8Plan>::Key key{a.rows, a.n, a.k, bool(bias) | gelu << 1 | (y_type == DType::BF16) << 2, thread_count()};
      const auto plan = plans().get(key, [&] { return make_plan(a, y_type); });
      const Workspace scratchpad(allocator_, plan->scratchpad.get_size());
      const auto post = [](int i) { return DNNL_ARG_ATTR_MULTIPLE_POST_OP(i) | DNNL_ARG_SRC_1; };
      std::unordered_map<int, dnnl::memory> arguments{
          {DNNL_ARG_SRC, dnnl_view(plan->x, x8.data)}, {DNNL_ARG_WEIGHTS, dnnl_view(plan->w, a.w.i8())},
          {DNNL_ARG_DST, dnnl_view(plan->y, y.data)},  {DNNL_ARG_SCRATCHPAD, dnnl_view(plan->scratchpad, scratchpad.data())},
          {post(0), dnnl_view(plan->row, scale.data)}, {post(1), dnnl_view(plan->column, a.wscale.f32())}};
      if (bias) arguments.emplace(post(2), dnnl_view(plan->column, bias.data));
      plan->primitive.execute(dnnl_stream(), arguments);
    });
  } else {
    const Workspace wide_x(allocator_, floats(a.rows * a.k)), wide_w(allocator_, floats(a.n * a.k));
    const Ref x{wide_x.data(), DType::F32}, w{wide_w.data(), DType::F32};
    dequantize_rows({x, x8, scale, a.rows, a.k});
    dequantize_rows({w, a.w, a.wscale, a.n, a.k});
    MatmulArgs product{};
    product.c = y, product.a = x, product.b = w, product.bias = bias;
    product.batch = 1, product.m = a.rows, product.n = a.n, product.k = a.k;
    product.trans_b = true;
    product.activation = a.activation;
    matmul(product);
  }
  if (narrow) cast({a.y, y, a.rows * a.n});
}

}  // namespace star
#endif  // HWY_ONCE
