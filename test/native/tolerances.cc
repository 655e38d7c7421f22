// How close every op must come to float64. In f32, where orders of additions and a device's exp and log differ, the limit is
// at most about five times the largest error that the tests of the op show on the CPU and simt backends. In f16 and bf16 it is
// about twice: there the rounding of the result, by 2^-11 and 2^-8 of it at most, hides everything else.
#include <cstring>
#include <stdexcept>
#include <string>

#include "support.h"

namespace star::test {

namespace {

struct Tolerances {
  const char* row;  // op, op.output, or a case of its own
  double f32;
  double f16 = 0, bf16 = 0;  // 0: the result is f32 always
};

constexpr Tolerances kTolerances[] = {
    {"adamw", 2e-6},
    {"affine", 3e-7, 5e-4, 5e-3},
    {"attention", 2e-6, 5e-4, 4.5e-3},
    {"attention, large scores", 1.2e-5, 2e-4, 1.5e-3},  // scores of some hundred carry errors of 1e-5, and so do probabilities
    {"attention.lse", 1.3e-6},
    {"attention_backward.dk", 4e-6, 6e-4, 5e-3},  // differences of two sums that are close
    {"attention_backward.dq", 4e-6, 6e-4, 5e-3},
    {"attention_backward.dv", 2e-6, 6e-4, 5e-3},
    {"binary", 1.5e-7, 6e-4, 4e-3},
    {"conv2d", 1.2e-6, 7e-4, 5e-3},
    {"conv2d_backward_data", 9e-7, 5e-4, 4e-3},
    {"conv2d_backward_weight", 5e-7, 5e-4, 4.5e-3},
    {"conv2d_backward_weight, long sums", 1.5e-5},  // 10^5 products of both signs
    {"conv2d_backward_weight.dbias", 5e-7, 9e-4, 6e-3},
    {"cross_entropy", 1.5e-6},
    {"cross_entropy.lse", 2.5e-7},
    {"cross_entropy.lse, extra class", 1e-6},  // of logits about -12 it is their own sum, which carries 12 times their rounding
    {"cross_entropy_backward", 1.2e-6, 7e-4, 5e-3},
    {"draw", 3e-7},
    {"global_norm", 2e-7},
    {"group_norm", 6e-7, 6e-4, 4e-3},
    {"group_norm.mean", 1.6e-6},
    {"group_norm.rstd", 5e-7},
    {"group_norm_backward.dbias", 8e-7, 6e-4, 5e-3},
    {"group_norm_backward.dweight", 4e-6, 6e-4, 5e-3},
    {"group_norm_backward.dx", 7e-7, 5e-4, 4e-3},
    {"group_norm_backward.dx, few values", 4e-5, 5e-4, 4e-3},  // differences of equal terms: of one value they are 0
    {"gumbel_mix", 5e-6, 7e-4, 5e-3},
    {"heads", 5.5e-7, 5e-4, 4e-3},
    {"heads_backward", 7e-7, 5e-4, 4e-3},
    {"heads_backward.dlog_scale", 8e-6},  // terms of both signs: the sum is smaller than they are
    {"layer_norm", 6e-7, 5e-4, 4.5e-3},
    {"layer_norm.mean", 7e-7},
    {"layer_norm.rstd", 5.5e-7},
    {"layer_norm_backward.dscale", 6e-7, 5e-4, 4e-3},
    {"layer_norm_backward.dshift", 5e-7, 6e-4, 6e-3},
    {"layer_norm_backward.dx", 5e-7, 6e-4, 6e-3},
    {"layer_norm_backward.dx, short rows", 3e-5, 6e-4, 6e-3},  // as in group_norm_backward
    {"linear_backward_input", 1.5e-6, 5e-4, 4e-3},
    {"linear_backward_weight", 2.5e-6, 5e-4, 4e-3},
    {"linear_backward_weight.dbias", 3e-6, 5e-4, 5e-3},
    {"matmul", 2e-6, 6e-4, 5e-3},
    {"mma", 3e-7},  // 16 products in f32
    {"nearest_row", 2.2e-6},
    // A mean that is rounded to float moves every value: up to 5e-4, beside a standard deviation of 0.6.
    {"normalised, far from zero", 1e-3},
    {"reduce", 2e-6, 8e-4, 6e-3},
    {"resample", 1.6e-6, 5e-4, 4e-3},
    {"resample_backward", 1.5e-6, 5e-4, 4e-3},
    {"softmax", 6e-7, 5e-4, 4e-3},
    {"softmax_backward", 3e-7, 1.5e-3, 4e-3},  // f16 has no digits left for the smallest gradients
    {"unary", 1.4e-6, 7e-4, 6e-3},
    {"unary_backward", 2e-6, 6e-4, 5e-3},
};

}  // namespace

double tolerance(const char* row, DType dtype) {
  for (const Tolerances& t : kTolerances) {
    if (std::strcmp(t.row, row) != 0) continue;
    const double found = dtype == DType::F16 ? t.f16 : dtype == DType::BF16 ? t.bf16 : t.f32;
    if (found > 0) return found;
  }
  throw std::logic_error(std::string("tolerances.cc has no number for ") + row + " in " + dtype_name(dtype));
}

}  // namespace star::test
