// Patches of images, rows of what a convolution's kernel sees: unfolded for a product with the output's gradient, and folded back
// by adding up, every pixel in the order of its place in the patch.
#include <algorithm>

#include "cuda/device/element.cuh"
#include "cuda/dispatch.h"
#include "cuda/elementwise.h"
#include "cuda/launch.h"
#include "cuda/patches.h"

namespace star {

namespace {

// patches[(n, oy, ox), (p, q, c)] = images[n, oy·stride + p − pad_top, ox·stride + q − pad_left, c], zero outside.
template <class T>
__global__ void patches_unfold_kernel(T* __restrict__ patches, const T* __restrict__ images, ConvShape s, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int64_t c = i % s.c_in, place = i / s.c_in, q = place % s.kw, p = place / s.kw % s.kh, row = place / (s.kw * s.kh);
  const int64_t x = row % s.ow * s.stride + q - s.pad_left, y = row / s.ow % s.oh * s.stride + p - s.pad_top;
  const int64_t image = row / (s.ow * s.oh);
  const bool inside = y >= 0 && y < s.h && x >= 0 && x < s.w;
  patches[i] = inside ? images[((image * s.h + y) * s.w + x) * s.c_in + c] : from_float<T>(0.0f);
}

template <class T>
__global__ void patches_fold_kernel(T* __restrict__ images, const T* __restrict__ patches, ConvShape s, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int64_t c = i % s.c_in, pixel = i / s.c_in, x = pixel % s.w + s.pad_left, y = pixel / s.w % s.h + s.pad_top;
  const int64_t image = pixel / (s.w * s.h);
  float sum = 0.0f;
  for (int64_t p = 0; p < s.kh; ++p) {
    const int64_t oy = (y - p) / s.stride;
    if (y < p || (y - p) % s.stride != 0 || oy >= s.oh) continue;
    for (int64_t q = 0; q < s.kw; ++q) {
      const int64_t ox = (x - q) / s.stride;
      if (x < q || (x - q) % s.stride != 0 || ox >= s.ow) continue;
      sum += to_float(patches[((((image * s.oh + oy) * s.ow + ox) * s.kh + p) * s.kw + q) * s.c_in + c]);
    }
  }
  images[i] = from_float<T>(sum);
}

// -----------------------------------------------------------------------------------------------------------------------------

// Images whose patches are in memory at a time.
int64_t group_of(const ConvShape& s, DType dtype) {
  constexpr int64_t kMostBytes = 16 << 20;
  const int64_t image = s.oh * s.ow * s.kh * s.kw * s.c_in * static_cast<int64_t>(dtype_size(dtype));
  return std::clamp<int64_t>(kMostBytes / image, 1, s.n);
}

// Elements of a tensor from one on.
template <class R>
R behind(const R& ref, int64_t elements) {
  return {static_cast<char*>(const_cast<void*>(static_cast<const void*>(ref.data))) +
              elements * static_cast<int64_t>(dtype_size(ref.dtype)),
          ref.dtype};
}

}  // namespace

void patches_backward_data(CudaBackend& backend, const char* op, const Ref& dx, const CRef& dy, const CRef& weight,
                           const ConvShape& s) {
  const int64_t group = group_of(s, dx.dtype), length = s.kh * s.kw * s.c_in, image = s.h * s.w * s.c_in;
  const Scratch scratch(backend, static_cast<size_t>(group * s.oh * s.ow * length) * dtype_size(dx.dtype));
  const Ref patches{scratch.as<void>(), dx.dtype};
  for (int64_t first = 0; first < s.n; first += group) {
    const int64_t images = std::min(group, s.n - first);
    MatmulArgs product{};  // patches (n·oh·ow, length) = dy (n·oh·ow, c_out)·weight (c_out, length)
    product.c = patches, product.a = behind(dy, first * s.oh * s.ow * s.c_out), product.b = weight;
    product.batch = 1, product.m = images * s.oh * s.ow, product.n = length, product.k = s.c_out;
    backend.matmul(product);
    dispatch_float(dx.dtype, op, [&](auto tag) {
      using T = decltype(tag);
      launch(op, patches_fold_kernel<T>, elementwise_shape(images * image, 1), backend.stream(),
             as<T>(behind(dx, first * image), op), as<T>(CRef(patches), op), s, images * image);
    });
  }
}

void patches_backward_weight(CudaBackend& backend, const char* op, const Ref& dweight, const CRef& dy, const CRef& x,
                             const ConvShape& s) {
  const int64_t group = group_of(s, x.dtype), length = s.kh * s.kw * s.c_in, count = s.c_out * length;
  const int64_t groups = (s.n + group - 1) / group;
  const size_t element = dtype_size(x.dtype);
  const Scratch scratch(backend, static_cast<size_t>(group * s.oh * s.ow * length) * element);
  const Scratch parts(backend, groups > 1 ? static_cast<size_t>(groups * count) * element : 0);
  const Ref patches{scratch.as<void>(), x.dtype}, sums = groups > 1 ? Ref{parts.as<void>(), x.dtype} : dweight;
  for (int64_t i = 0; i < groups; ++i) {
    const int64_t first = i * group, images = std::min(group, s.n - first), elements = images * s.oh * s.ow * length;
    dispatch_float(x.dtype, op, [&](auto tag) {
      using T = decltype(tag);
      launch(op, patches_unfold_kernel<T>, elementwise_shape(elements, 1), backend.stream(), as<T>(patches, op),
             as<T>(behind(x, first * s.h * s.w * s.c_in), op), s, elements);
    });
    MatmulArgs product{};  // (c_out, length) = dyᵀ (c_out, n·oh·ow)·patches
    product.c = behind(sums, i * count), product.a = behind(dy, first * s.oh * s.ow * s.c_out), product.b = patches;
    product.batch = 1, product.m = s.c_out, product.n = length, product.k = images * s.oh * s.ow;
    product.trans_a = true;
    backend.matmul(product);
  }
  if (groups > 1) backend.reduce({dweight, sums, ReduceOp::Sum, 1.0f, groups, count, 1});
}

}  // namespace star
