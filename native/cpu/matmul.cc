// Matrix products by oneDNN, with bias and gelu fused into the product.
#include <omp.h>

#include <cstring>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/dnnl_support.h"

namespace star {

namespace {

using dnnl::memory;

struct MatmulPlan {
  dnnl::matmul primitive;
  memory::desc a, b, bias, c, scratchpad;
};

memory::desc matrices(int64_t batch, int64_t rows, int64_t cols, int64_t stride, bool transposed) {
  const memory::dims dims{batch, rows, cols};
  return transposed ? memory::desc(dims, memory::data_type::f32, memory::dims{stride, 1, rows})
                    : memory::desc(dims, memory::data_type::f32, memory::dims{stride, cols, 1});
}

MatmulPlan make_plan(const MatmulArgs& args, bool with_bias, bool with_gelu) {
  MatmulPlan plan;
  const int64_t a_batch = args.a_stride ? args.batch : 1, b_batch = args.b_stride ? args.batch : 1;
  plan.a = matrices(a_batch, args.m, args.k, args.a_stride ? args.a_stride : args.m * args.k, args.trans_a);
  plan.b = matrices(b_batch, args.k, args.n, args.b_stride ? args.b_stride : args.k * args.n, args.trans_b);
  plan.c = matrices(args.batch, args.m, args.n, args.m * args.n, false);
  dnnl::primitive_attr attributes = dnnl_attributes();
  dnnl::post_ops post;
  if (args.accumulate) post.append_sum(1.0f);
  if (with_gelu) post.append_eltwise(1.0f, dnnl::algorithm::eltwise_gelu_tanh, 0.0f, 0.0f);
  attributes.set_post_ops(post);
  if (with_bias) plan.bias = memory::desc({1, 1, args.n}, memory::data_type::f32, memory::format_tag::abc);
  const auto op = with_bias ? dnnl::matmul::desc(plan.a, plan.b, plan.bias, plan.c) : dnnl::matmul::desc(plan.a, plan.b, plan.c);
  const dnnl::matmul::primitive_desc description(op, attributes, dnnl_engine());
  plan.scratchpad = description.scratchpad_desc();
  plan.primitive = dnnl::matmul(description);
  return plan;
}

PlanCache<MatmulPlan>& plans() {
  static PlanCache<MatmulPlan> cache(512);
  return cache;
}

}  // namespace

void CpuBackend::matmul(const MatmulArgs& given) {
  MatmulArgs args = given;
  if (args.batch == 0 || args.m == 0 || args.n == 0) return;
  const bool gelu = args.activation == Activation::Gelu;
  const int64_t count = args.batch * args.m * args.n;
  // With the sum before the activation wanted as well, gelu is a pass of its own over it.
  const bool separate = gelu && (args.pre_activation || args.k == 0);
  float* c = separate && args.pre_activation ? args.pre_activation.f32() : args.c.f32();
  if (args.k == 0) {  // an empty sum
    if (!args.accumulate)
      for (int64_t row = 0; row < args.batch * args.m; ++row) {
        if (args.bias)
          std::memcpy(c + row * args.n, args.bias.f32(), static_cast<size_t>(args.n) * sizeof(float));
        else
          std::memset(c + row * args.n, 0, static_cast<size_t>(args.n) * sizeof(float));
      }
  } else {
    if (args.b_stride == 0 && !args.trans_a && args.a_stride == args.m * args.k) {  // one taller product
      args.m *= args.batch;
      args.batch = 1;
    }
    if (args.batch == 1) args.a_stride = args.b_stride = 0;
    if (args.batch > 1 && args.a_stride == 0 && args.b_stride == 0)
      fail(ErrorCode::Argument, "matmul: a batch of %lld products of the same two matrices", static_cast<long long>(args.batch));
    const bool fused = gelu && !separate;
    dnnl_guard("matmul", [&] {
      const PlanCache<MatmulPlan>::Key key{
          args.batch,
          args.m,
          args.n,
          args.k,
          args.a_stride,
          args.b_stride,
          args.trans_a | args.trans_b << 1 | args.accumulate << 2 | fused << 3 | bool(args.bias) << 4,
          omp_get_max_threads()};
      const auto plan = plans().get(key, [&] { return make_plan(args, bool(args.bias), fused); });
      Workspace scratchpad(allocator_, plan->scratchpad.get_size());
      std::unordered_map<int, dnnl::memory> arguments{{DNNL_ARG_SRC, dnnl_view(plan->a, args.a.f32())},
                                                      {DNNL_ARG_WEIGHTS, dnnl_view(plan->b, args.b.f32())},
                                                      {DNNL_ARG_DST, dnnl_view(plan->c, c)},
                                                      {DNNL_ARG_SCRATCHPAD, dnnl_view(plan->scratchpad, scratchpad.data())}};
      if (args.bias) arguments.emplace(DNNL_ARG_BIAS, dnnl_view(plan->bias, args.bias.f32()));
      plan->primitive.execute(dnnl_stream(), arguments);
    });
  }
  if (separate)
    unary({args.c, CRef{c, DType::F32}, UnaryOp::Gelu, 0.0f, 0.0f, count});
  else if (args.pre_activation)
    std::memcpy(args.pre_activation.f32(), c, static_cast<size_t>(count) * sizeof(float));
}

}  // namespace star
