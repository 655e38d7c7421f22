// Gradients of grouped convolutions, of which depthwise ones are the most frequent: a thread for an element of the image's
// gradient, a block for one of the weights', all sums in a fixed order.
#include "cuda/device/element.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/dispatch.h"
#include "cuda/elementwise.h"
#include "cuda/grouped_conv.h"
#include "cuda/launch.h"

namespace star {

namespace {

constexpr int kGroupedThreads = 256;

// dx[n, y, x, c] = Σ over the kernel (p, q) and the outputs o of c's group of dy[n, oy, ox, o]·weight[o, p, q, c in its group].
template <class T>
__global__ void grouped_data_kernel(T* __restrict__ dx, const T* __restrict__ dy, const T* __restrict__ weight, ConvShape s,
                                    int64_t inputs, int64_t outputs, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int64_t c = i % s.c_in, pixel = i / s.c_in, x = pixel % s.w + s.pad_left, y = pixel / s.w % s.h + s.pad_top;
  const int64_t image = pixel / (s.w * s.h), first = c / inputs * outputs, inner = c % inputs;
  float sum = 0.0f;
  for (int64_t p = 0; p < s.kh; ++p) {
    const int64_t oy = (y - p) / s.stride;
    if (y < p || (y - p) % s.stride != 0 || oy >= s.oh) continue;
    for (int64_t q = 0; q < s.kw; ++q) {
      const int64_t ox = (x - q) / s.stride;
      if (x < q || (x - q) % s.stride != 0 || ox >= s.ow) continue;
      const T* gradient = dy + ((image * s.oh + oy) * s.ow + ox) * s.c_out;
      for (int64_t o = first; o < first + outputs; ++o)
        sum += to_float(gradient[o]) * to_float(weight[((o * s.kh + p) * s.kw + q) * inputs + inner]);
    }
  }
  dx[i] = from_float<T>(sum);
}

// dweight[o, p, q, c] = Σ over images and output pixels of dy[n, oy, ox, o]·x[n, oy·stride + p − pad_top, …, c of o's group]. Of
// a block all threads work on one weight.
template <class T>
__global__ __launch_bounds__(kGroupedThreads) void grouped_weight_kernel(T* __restrict__ dweight, const T* __restrict__ dy,
                                                                         const T* __restrict__ x, ConvShape s, int64_t inputs,
                                                                         int64_t outputs) {
  // Divisions in 32 bits: those in 64 are calls, which keep values in local memory.
  const unsigned i = blockIdx.x, in = static_cast<unsigned>(inputs), kw = static_cast<unsigned>(s.kw);
  const unsigned kh = static_cast<unsigned>(s.kh), ow = static_cast<unsigned>(s.ow), oh = static_cast<unsigned>(s.oh);
  const unsigned place = i / in, o = place / (kw * kh);
  const int q = static_cast<int>(place % kw) - static_cast<int>(s.pad_left);
  const int p = static_cast<int>(place / kw % kh) - static_cast<int>(s.pad_top);
  const unsigned channel = o / static_cast<unsigned>(outputs) * in + i % in;
  const int h = static_cast<int>(s.h), w = static_cast<int>(s.w), stride = static_cast<int>(s.stride);
  const auto pixels = static_cast<unsigned>(s.n) * oh * ow;
  float sum = 0.0f;
  for (unsigned row = threadIdx.x; row < pixels; row += kGroupedThreads) {
    const unsigned line = row / ow, image = line / oh;
    const int ix = static_cast<int>(row - line * ow) * stride + q, iy = static_cast<int>(line - image * oh) * stride + p;
    if (iy < 0 || iy >= h || ix < 0 || ix >= w) continue;
    const int64_t pixel = (static_cast<int64_t>(image) * h + iy) * w + ix;
    sum += to_float(dy[static_cast<int64_t>(row) * s.c_out + o]) * to_float(x[pixel * s.c_in + channel]);
  }
  sum = block_sum<kGroupedThreads>(sum);
  if (threadIdx.x == 0) dweight[i] = from_float<T>(sum);
}

// -----------------------------------------------------------------------------------------------------------------------------

}  // namespace

void grouped_backward_data(CudaBackend& backend, const char* op, const Ref& dx, const CRef& dy, const CRef& weight,
                           const ConvShape& s) {
  const int64_t count = s.n * s.h * s.w * s.c_in;
  dispatch_float(dx.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    launch(op, grouped_data_kernel<T>, elementwise_shape(count, 1), backend.stream(), as<T>(dx, op), as<T>(dy, op),
           as<T>(weight, op), s, s.group_in(), s.group_out(), count);
  });
}

void grouped_backward_weight(CudaBackend& backend, const char* op, const Ref& dweight, const CRef& dy, const CRef& x,
                             const ConvShape& s) {
  // Rows are counted in 32 bits, and one step beyond the last.
  if (s.n * s.oh * s.ow > INT32_MAX)
    fail(ErrorCode::Shape, "%s: the batch has %lld output pixels, and a GPU takes up to 2147483647: use a smaller batch", op,
         static_cast<long long>(s.n * s.oh * s.ow));
  dispatch_float(dweight.dtype, op, [&](auto tag) {
    using T = decltype(tag);
    launch(op, grouped_weight_kernel<T>, {dim3(blocks_for(s.weight_count(), 1)), dim3(kGroupedThreads)}, backend.stream(),
           as<T>(dweight, op), as<T>(dy, op), as<T>(x, op), s, s.group_in(), s.group_out());
  });
}

}  // namespace star
