// Matrix products by oneDNN, with bias and gelu fused into the product. bf16 goes to oneDNN as it is where the processor
// multiplies bf16; other 16-bit matrices are widened first, large ones in blocks.
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstring>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/dnnl_support.h"
#include "cpu/isa.h"
#include "cpu/widen.h"
#include "dnnl/describe.h"
#include "threads/team.h"

namespace star {

namespace {

using dnnl::memory;

struct MatmulPlan {
  dnnl::matmul primitive;
  memory::desc a, b, bias, c, scratchpad;
};

memory::data_type dnnl_type(DType dtype) { return dtype == DType::BF16 ? memory::data_type::bf16 : memory::data_type::f32; }

memory::desc matrices(DType dtype, int64_t batch, int64_t rows, int64_t cols, int64_t stride, bool transposed) {
  const memory::dims dims{batch, rows, cols};
  return transposed ? memory::desc(dims, dnnl_type(dtype), memory::dims{stride, 1, rows})
                    : memory::desc(dims, dnnl_type(dtype), memory::dims{stride, cols, 1});
}

MatmulPlan make_plan(const MatmulArgs& args, bool with_bias, bool with_gelu) {
  MatmulPlan plan;
  const int64_t a_batch = args.a_stride ? args.batch : 1, b_batch = args.b_stride ? args.batch : 1;
  plan.a = matrices(args.a.dtype, a_batch, args.m, args.k, args.a_stride ? args.a_stride : args.m * args.k, args.trans_a);
  plan.b = matrices(args.a.dtype, b_batch, args.k, args.n, args.b_stride ? args.b_stride : args.k * args.n, args.trans_b);
  plan.c = matrices(args.a.dtype, args.batch, args.m, args.n, args.m * args.n, false);
  dnnl::primitive_attr attributes = dnnl_attributes();
  dnnl::post_ops post;
  if (args.accumulate) post.append_sum(1.0f);
  if (with_gelu) append_activation(post, dnnl::algorithm::eltwise_gelu_tanh);
  attributes.set_post_ops(post);
  if (with_bias) plan.bias = memory::desc({1, 1, args.n}, dnnl_type(args.a.dtype), memory::format_tag::abc);
  const auto description = with_bias
                               ? describe_primitive<dnnl::matmul>(dnnl_engine(), attributes, plan.a, plan.b, plan.bias, plan.c)
                               : describe_primitive<dnnl::matmul>(dnnl_engine(), attributes, plan.a, plan.b, plan.c);
  plan.scratchpad = description.scratchpad_desc();
  plan.primitive = dnnl::matmul(description);
  return plan;
}

PlanCache<MatmulPlan>& plans() {
  static PlanCache<MatmulPlan> cache(512);
  return cache;
}

// x·wᵀ in f32 blocks of at most kRows rows of x and kColumns rows of w, so that no f32 copy of a large matrix ever exists.
constexpr int64_t kRows = 256, kColumns = 1024;

bool in_blocks(const MatmulArgs& a) {
  return a.batch == 1 && !a.trans_a && a.trans_b && !a.accumulate && (a.n > kColumns || a.m > kRows);
}

void matmul_blocks(CpuBackend& backend, const MatmulArgs& a) {
  const DType dtype = a.a.dtype;
  for (const CRef& ref : {CRef(a.c), CRef(a.pre_activation), a.b, a.bias}) expect_like_others(ref, dtype, "matmul");
  const auto row = [](const auto& ref, int64_t elements) {
    auto moved = ref;
    if (ref) moved.data = static_cast<char*>(const_cast<void*>(static_cast<const void*>(ref.data))) + 2 * elements;
    return moved;
  };
  for (int64_t m = 0; m < a.m; m += kRows) {
    const int64_t rows = std::min(kRows, a.m - m);
    WideTensors left(backend, "matmul", dtype);
    CRef x = row(a.a, m * a.k);
    left.in(x, rows * a.k);
    for (int64_t n = 0; n < a.n; n += kColumns) {
      const int64_t cols = std::min(kColumns, a.n - n);
      MatmulArgs block = a;
      WideTensors right(backend, "matmul", dtype);
      block.b = row(a.b, n * a.k);
      block.bias = row(a.bias, n);
      right.in(block.b, cols * a.k);
      right.in(block.bias, cols);
      const Ref c = right.space(rows * cols), sum = a.pre_activation ? right.space(rows * cols) : Ref{};
      block.a = x, block.c = c, block.pre_activation = sum;
      block.m = rows, block.n = cols;
      block.a_stride = block.b_stride = 0;
      backend.matmul(block);
      const auto write = [&](const Ref& to, const Ref& from) {
        parallel_for(rows, std::max<int64_t>(1, 16384 / cols), [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r)
            backend.cast({row(to, (m + r) * a.n + n), {from.f32() + r * cols, DType::F32}, cols});
        });
      };
      write(a.c, c);
      if (sum) write(a.pre_activation, sum);
    }
  }
}

// By CPUID itself: what compilers have for it (__builtin_cpu_is) is in no library of Clang's for musl.
bool is_intel() {
#if defined(__x86_64__)
  unsigned most = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(0, &most, &b, &c, &d)) return false;
  const unsigned vendor[] = {b, d, c};
  return std::memcmp(vendor, "GenuineIntel", sizeof vendor) == 0;
#else
  return false;
#endif
}

}  // namespace

bool multiplies_bf16() {
  static const bool yes = [] {
    const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
    const auto has = [&](dnnl::cpu_isa wanted) { return (isa & static_cast<unsigned>(wanted)) == static_cast<unsigned>(wanted); };
    if (has(dnnl::cpu_isa::avx512_core_amx)) return true;
    if (is_intel()) return false;
    return has(dnnl::cpu_isa::avx512_core_bf16);
  }();
  return yes;
}

void CpuBackend::matmul(const MatmulArgs& given) {
  const DType dtype = given.a.dtype;
  if (is_half(dtype) && (dtype == DType::F16 || !multiplies_bf16() || given.k == 0)) {
    if (given.k > 0 && in_blocks(given)) return matmul_blocks(*this, given);
    return widened(*this, "matmul", dtype, given, &CpuBackend::matmul);
  }
  if (dtype != DType::BF16) (void)given.a.f32();  // throws for whole numbers
  for (const CRef& ref : {CRef(given.c), CRef(given.pre_activation), given.b, given.bias})
    expect_like_others(ref, dtype, "matmul");
  MatmulArgs args = given;
  if (args.batch > 1 && args.a_stride == 0 && args.b_stride == 0) {  // the same product again, which oneDNN does not take
    const auto next = [&](Ref& ref) {
      if (ref) ref.data = static_cast<char*>(ref.data) + static_cast<size_t>(args.m * args.n) * dtype_size(dtype);
    };
    args.batch = 1;
    for (int64_t i = 0; i < given.batch; ++i, next(args.c), next(args.pre_activation)) matmul(args);
    return;
  }
  if (args.accumulate && (args.bias || args.activation != Activation::None))
    fail(ErrorCode::Argument, "matmul: a product that is added to c takes neither bias nor activation");
  if (args.batch == 0 || args.m == 0 || args.n == 0) return;
  const bool gelu = args.activation == Activation::Gelu;
  const int64_t count = args.batch * args.m * args.n;
  // With the sum before the activation wanted as well, gelu is a pass of its own over it.
  const bool separate = gelu && (args.pre_activation || args.k == 0);
  const Ref c = separate && args.pre_activation ? args.pre_activation : args.c;
  const size_t bytes = static_cast<size_t>(count) * dtype_size(dtype);
  if (args.k == 0) {  // an empty sum
    float* empty = c.f32();
    if (!args.accumulate)
      for (int64_t row = 0; row < args.batch * args.m; ++row) {
        if (args.bias)
          std::memcpy(empty + row * args.n, args.bias.f32(), static_cast<size_t>(args.n) * sizeof(float));
        else
          std::memset(empty + row * args.n, 0, static_cast<size_t>(args.n) * sizeof(float));
      }
  } else {
    if (args.b_stride == 0 && !args.trans_a && args.a_stride == args.m * args.k) {  // one taller product
      args.m *= args.batch;
      args.batch = 1;
    }
    if (args.batch == 1) args.a_stride = args.b_stride = 0;
    const bool fused = gelu && !separate;
    dnnl_guard("matmul", [&] {
      const PlanCache<MatmulPlan>::Key key{args.batch,
                                           args.m,
                                           args.n,
                                           args.k,
                                           args.a_stride,
                                           args.b_stride,
                                           args.trans_a | args.trans_b << 1 | args.accumulate << 2 | fused << 3 |
                                               bool(args.bias) << 4 | (dtype == DType::BF16) << 5,
                                           thread_count()};
      const auto plan = plans().get(key, [&] { return make_plan(args, bool(args.bias), fused); });
      Workspace scratchpad(allocator_, plan->scratchpad.get_size());
      std::unordered_map<int, dnnl::memory> arguments{{DNNL_ARG_SRC, dnnl_view(plan->a, args.a.data)},
                                                      {DNNL_ARG_WEIGHTS, dnnl_view(plan->b, args.b.data)},
                                                      {DNNL_ARG_DST, dnnl_view(plan->c, c.data)},
                                                      {DNNL_ARG_SCRATCHPAD, dnnl_view(plan->scratchpad, scratchpad.data())}};
      if (args.bias) arguments.emplace(DNNL_ARG_BIAS, dnnl_view(plan->bias, args.bias.data));
      plan->primitive.execute(dnnl_stream(), arguments);
    });
  }
  if (separate)
    unary({args.c, c, UnaryOp::Gelu, 0.0f, 0.0f, count});
  else if (args.pre_activation)
    std::memcpy(args.pre_activation.data, c.data, bytes);
}

}  // namespace star
