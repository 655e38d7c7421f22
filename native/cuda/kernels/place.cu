// Padding and cropping of images.
#include "cuda/device/kernel.cuh"
#include "cuda/elementwise.h"
#include "cuda/launch.h"
#include "cuda/place.h"

namespace star {

namespace {

// Places images (n, in_h, in_w, c) with their corner at (top, left) of images (n, out_h, out_w, c), zero around them; a
// negative corner cuts. A block writes one row; an element is a unit of U, c and the widths are counted in units.
template <class U>
__global__ void place_kernel(U* __restrict__ out, const U* __restrict__ in, int64_t out_h, int64_t out_w, int64_t in_h,
                             int64_t in_w, int64_t c, int64_t top, int64_t left) {
  const int64_t image = blockIdx.x / out_h, y = blockIdx.x % out_h - top;
  U* to = out + blockIdx.x * out_w * c;
  const U* from = in + (image * in_h + y) * in_w * c;
  for (int64_t i = threadIdx.x; i < out_w * c; i += blockDim.x) {
    const int64_t j = i - left * c;
    const bool inside = y >= 0 && y < in_h && j >= 0 && j < in_w * c;
    to[i] = inside ? from[j] : U{};
  }
}

// -----------------------------------------------------------------------------------------------------------------------------

}  // namespace

void place_images(CudaBackend& backend, const char* op, const PlaceArgs& args) {
  const int64_t bytes = args.c * static_cast<int64_t>(dtype_size(args.out.dtype));
  const auto run = [&](auto unit) {
    using U = decltype(unit);
    launch(op, place_kernel<U>, {blocks_for(args.n * args.out_h, 1), 256}, backend.stream(), static_cast<U*>(args.out.data),
           static_cast<const U*>(args.in.data), args.out_h, args.out_w, args.in_h, args.in_w,
           bytes / static_cast<int64_t>(sizeof(U)), args.top, args.left);
  };
  if (bytes % 16 == 0 && aligned(args.out.data, args.in.data))
    run(uint4{});
  else if (dtype_size(args.out.dtype) == 4)
    run(uint32_t{});
  else
    run(uint16_t{});
}

}  // namespace star
