// The gradients of a linear layer: oneDNN's matrix product, then the passes that its primitives cannot do in the product.
#include "cpu/cpu_backend.h"
#include "cpu/widen.h"

namespace star {

void CpuBackend::linear_backward_input(const LinearBackwardInputArgs& args) {
  // The product of f16 is widened in any case: gelu's derivative then meets it unrounded. bf16 stays with oneDNN's kernels of it.
  if (args.sum && args.dx.dtype == DType::F16)
    return widened(*this, "linear_backward_input", DType::F16, args, &CpuBackend::linear_backward_input);
  MatmulArgs m{};
  m.c = args.dx, m.a = args.dy, m.b = args.w;
  m.batch = 1, m.m = args.rows, m.n = args.k, m.k = args.n;
  matmul(m);
  if (args.sum) unary_backward({args.dx, args.dx, args.sum, UnaryOp::Gelu, 0.0f, 0.0f, args.rows * args.k});
}

void CpuBackend::linear_backward_weight(const LinearBackwardWeightArgs& args) {
  MatmulArgs m{};
  m.c = args.dw, m.a = args.dy, m.b = args.x;
  m.batch = 1, m.m = args.n, m.n = args.k, m.k = args.rows;
  m.trans_a = true;
  matmul(m);
  if (args.dbias) reduce({args.dbias, args.dy, ReduceOp::Sum, 1.0f, args.rows, args.n, 1});
}

}  // namespace star
