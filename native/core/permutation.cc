#include "core/permutation.h"

namespace star {

Permutation simplify(const PermuteArgs& args) {
  const int rank = args.dims.rank();
  int64_t stride_of_x[Shape::kMaxRank];
  int64_t stride = 1;
  for (int i = rank - 1; i >= 0; --i) {
    stride_of_x[i] = stride;
    stride *= args.dims[i];
  }
  Permutation axes;
  for (int i = 0; i < rank; ++i) {
    const int from = args.perm[static_cast<size_t>(i)];
    if (args.dims[from] == 1) continue;
    if (axes.rank > 0 && axes.x_strides[axes.rank - 1] == stride_of_x[from] * args.dims[from]) {
      axes.dims[axes.rank - 1] *= args.dims[from];
      axes.x_strides[axes.rank - 1] = stride_of_x[from];
    } else {
      axes.dims[axes.rank] = args.dims[from];
      axes.x_strides[axes.rank++] = stride_of_x[from];
    }
  }
  stride = 1;
  for (int i = axes.rank - 1; i >= 0; --i) {
    axes.y_strides[i] = stride;
    stride *= axes.dims[i];
  }
  return axes;
}

}  // namespace star
