// Convolution and its gradients by cuDNN on NHWC images, deterministic, f32 without TF32. Weights lie as OIHW and are brought
// into cuDNN's KRSC at every call: they may have changed in place since the last one. Kernels of one pixel are matrix products
// and go to matmul.
#include <cudnn.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "core/error.h"
#include "cuda/bias_gelu.h"
#include "cuda/cuda_backend.h"
#include "cuda/device/kernel.cuh"
#include "cuda/dispatch.h"
#include "cuda/elementwise.h"
#include "cuda/launch.h"
#include "cuda/library.h"

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

struct Api {
#define STAR_FUNCTION(name) decltype(::name)* name = Library::cudnn().function<decltype(::name)>(#name)
  STAR_FUNCTION(cudnnGetErrorString);
  STAR_FUNCTION(cudnnCreate);
  STAR_FUNCTION(cudnnSetStream);
  STAR_FUNCTION(cudnnCreateTensorDescriptor);
  STAR_FUNCTION(cudnnDestroyTensorDescriptor);
  STAR_FUNCTION(cudnnSetTensor4dDescriptor);
  STAR_FUNCTION(cudnnCreateFilterDescriptor);
  STAR_FUNCTION(cudnnDestroyFilterDescriptor);
  STAR_FUNCTION(cudnnSetFilter4dDescriptor);
  STAR_FUNCTION(cudnnCreateConvolutionDescriptor);
  STAR_FUNCTION(cudnnDestroyConvolutionDescriptor);
  STAR_FUNCTION(cudnnSetConvolution2dDescriptor);
  STAR_FUNCTION(cudnnSetConvolutionMathType);
  STAR_FUNCTION(cudnnGetConvolutionForwardAlgorithm_v7);
  STAR_FUNCTION(cudnnGetConvolutionBackwardDataAlgorithm_v7);
  STAR_FUNCTION(cudnnGetConvolutionBackwardFilterAlgorithm_v7);
  STAR_FUNCTION(cudnnConvolutionForward);
  STAR_FUNCTION(cudnnConvolutionBackwardData);
  STAR_FUNCTION(cudnnConvolutionBackwardFilter);
#undef STAR_FUNCTION

  void check(cudnnStatus_t status, const char* op) const {
    if (status == CUDNN_STATUS_SUCCESS) return;
    if (status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)
      fail(ErrorCode::Memory, "%s: cuDNN is out of memory: use a smaller batch or a smaller model", op);
    fail(ErrorCode::Device, "%s: cuDNN failed: %s (CUDNN_LOGLEVEL_DBG=3 and CUDNN_LOGDEST_DBG=stderr show the call)", op,
         cudnnGetErrorString(status));
  }
};

template <class Handle>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, cudnnStatus_t (*)(Handle)>;

enum class Direction { Forward, BackwardData, BackwardWeight };

const char* op_name(Direction direction) {
  switch (direction) {
    case Direction::Forward: return "conv2d";
    case Direction::BackwardData: return "conv2d_backward_data";
    default: return "conv2d_backward_weight";
  }
}

cudnnDataType_t cudnn_type(DType dtype) {
  switch (dtype) {
    case DType::F16: return CUDNN_DATA_HALF;
    case DType::BF16: return CUDNN_DATA_BFLOAT16;
    default: return CUDNN_DATA_FLOAT;
  }
}

// Padding that cuDNN does (the same on both sides) and what is left to `place_kernel`.
struct Padding {
  int64_t both_h, both_w;            // on both sides
  int64_t top, left, bottom, right;  // on top of that, by a copy of the images
  explicit Padding(const ConvShape& s)
      : both_h(std::min(s.pad_top, s.pad_bottom)),
        both_w(std::min(s.pad_left, s.pad_right)),
        top(s.pad_top - both_h),
        left(s.pad_left - both_w),
        bottom(s.pad_bottom - both_h),
        right(s.pad_right - both_w) {}
  bool copies() const { return top || left || bottom || right; }
  int64_t height(const ConvShape& s) const { return s.h + top + bottom; }
  int64_t width(const ConvShape& s) const { return s.w + left + right; }
};

bool is_matrix_product(const ConvShape& s) {
  return s.kh == 1 && s.kw == 1 && s.stride == 1 && s.pad_top == 0 && s.pad_left == 0 && s.pad_bottom == 0 && s.pad_right == 0;
}

// Algorithms that multiply matrices. Fourier and Winograd transforms lose digits, the rest are named non-deterministic.
bool acceptable(cudnnConvolutionFwdAlgo_t algo) {
  return algo == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM || algo == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM ||
         algo == CUDNN_CONVOLUTION_FWD_ALGO_GEMM;
}
bool acceptable(cudnnConvolutionBwdDataAlgo_t algo) { return algo == CUDNN_CONVOLUTION_BWD_DATA_ALGO_1; }
bool acceptable(cudnnConvolutionBwdFilterAlgo_t algo) { return algo == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1; }

}  // namespace

struct CudaConv {
  struct Plan {
    Owned<cudnnTensorDescriptor_t> x, y;
    Owned<cudnnFilterDescriptor_t> w;
    Owned<cudnnConvolutionDescriptor_t> conv;
    int algorithm = 0;  // of the direction's enumeration
    size_t workspace = 0;
  };
  using Key = std::array<int64_t, 12>;

  const Api api;
  cudnnHandle_t handle = nullptr;  // like the backend, never given back
  std::mutex mutex;                // guards `plans`
  std::map<Key, std::shared_ptr<const Plan>> plans;

  explicit CudaConv(CudaBackend& backend) {
    api.check(api.cudnnCreate(&handle), "conv2d");
    api.check(api.cudnnSetStream(handle, backend.stream()), "conv2d");
  }

  template <class Handle>
  static Owned<Handle> owned(const Api& api, cudnnStatus_t (*create)(Handle*), cudnnStatus_t (*destroy)(Handle), const char* op) {
    Handle made = nullptr;
    api.check(create(&made), op);
    return Owned<Handle>(made, destroy);
  }

  template <class Perf, class Find>
  void choose(Plan& plan, DType dtype, const char* op, Find&& find) const {
    constexpr int kMost = 8;  // as many as any direction has
    Perf offered[kMost];
    int found = 0;
    api.check(find(kMost, &found, offered), op);
    constexpr size_t kMostWorkspace = size_t{1} << 30;
    const Perf* best = nullptr;  // the first that fits; where none does, the one that needs least
    for (const Perf* perf = offered; perf < offered + found; ++perf) {
      if (perf->status != CUDNN_STATUS_SUCCESS || perf->determinism != CUDNN_DETERMINISTIC || !acceptable(perf->algo)) continue;
      if (!best || (best->memory > kMostWorkspace && perf->memory < best->memory)) best = perf;
    }
    if (!best)
      fail(ErrorCode::Device, "%s: cuDNN offers no deterministic algorithm for this shape in %s: install a newer cuDNN 9", op,
           dtype_name(dtype));
    plan.algorithm = best->algo;
    plan.workspace = best->memory;
    // The algorithm runs with the kind of arithmetic that it was offered with, f32 never on TF32.
    if (dtype != DType::F32) api.check(api.cudnnSetConvolutionMathType(plan.conv.get(), best->mathType), op);
  }

  std::shared_ptr<const Plan> make(Direction direction, DType dtype, const ConvShape& s, const Padding& pad) const {
    const char* op = op_name(direction);
    const auto plan = std::make_shared<Plan>(Plan{
        owned(api, api.cudnnCreateTensorDescriptor, api.cudnnDestroyTensorDescriptor, op),
        owned(api, api.cudnnCreateTensorDescriptor, api.cudnnDestroyTensorDescriptor, op),
        owned(api, api.cudnnCreateFilterDescriptor, api.cudnnDestroyFilterDescriptor, op),
        owned(api, api.cudnnCreateConvolutionDescriptor, api.cudnnDestroyConvolutionDescriptor, op),
    });
    const cudnnDataType_t type = cudnn_type(dtype);
    const auto number = [](int64_t n) { return static_cast<int>(n); };
    const auto x = plan->x.get(), y = plan->y.get();
    const auto w = plan->w.get();
    const auto conv = plan->conv.get();
    api.check(api.cudnnSetTensor4dDescriptor(x, CUDNN_TENSOR_NHWC, type, number(s.n), number(s.c_in), number(pad.height(s)),
                                             number(pad.width(s))),
              op);
    api.check(
        api.cudnnSetTensor4dDescriptor(y, CUDNN_TENSOR_NHWC, type, number(s.n), number(s.c_out), number(s.oh), number(s.ow)), op);
    api.check(
        api.cudnnSetFilter4dDescriptor(w, type, CUDNN_TENSOR_NHWC, number(s.c_out), number(s.c_in), number(s.kh), number(s.kw)),
        op);
    api.check(api.cudnnSetConvolution2dDescriptor(conv, number(pad.both_h), number(pad.both_w), number(s.stride),
                                                  number(s.stride), 1, 1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
              op);
    api.check(api.cudnnSetConvolutionMathType(conv, dtype == DType::F32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH), op);
    switch (direction) {
      case Direction::Forward:
        choose<cudnnConvolutionFwdAlgoPerf_t>(*plan, dtype, op, [&](int most, int* found, auto* offered) {
          return api.cudnnGetConvolutionForwardAlgorithm_v7(handle, x, w, conv, y, most, found, offered);
        });
        break;
      case Direction::BackwardData:
        choose<cudnnConvolutionBwdDataAlgoPerf_t>(*plan, dtype, op, [&](int most, int* found, auto* offered) {
          return api.cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, w, y, conv, x, most, found, offered);
        });
        break;
      case Direction::BackwardWeight:
        choose<cudnnConvolutionBwdFilterAlgoPerf_t>(*plan, dtype, op, [&](int most, int* found, auto* offered) {
          return api.cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, x, y, conv, w, most, found, offered);
        });
        break;
    }
    return plan;
  }

  std::shared_ptr<const Plan> plan_for(Direction direction, DType dtype, const ConvShape& s, const Padding& pad) {
    const Key key{static_cast<int64_t>(direction),
                  static_cast<int64_t>(dtype),
                  s.n,
                  pad.height(s),
                  pad.width(s),
                  s.c_in,
                  s.c_out,
                  s.kh,
                  s.kw,
                  s.stride,
                  pad.both_h,
                  pad.both_w};
    const std::lock_guard lock(mutex);
    if (const auto it = plans.find(key); it != plans.end()) return it->second;
    const auto plan = make(direction, dtype, s, pad);
    constexpr size_t kMost = 4096;
    if (plans.size() >= kMost) plans.clear();
    return plans[key] = plan;
  }
};

namespace {

// `top` and `left` as in place_kernel.
void place(CudaBackend& backend, const char* op, void* out, const void* in, size_t element, int64_t n, int64_t out_h,
           int64_t out_w, int64_t in_h, int64_t in_w, int64_t c, int64_t top, int64_t left) {
  const auto run = [&](auto unit) {
    using U = decltype(unit);
    const int64_t units = c * static_cast<int64_t>(element) / static_cast<int64_t>(sizeof(U));
    launch(op, place_kernel<U>, {blocks_for(n * out_h, 1), 256}, backend.stream(), static_cast<U*>(out),
           static_cast<const U*>(in), out_h, out_w, in_h, in_w, units, top, left);
  };
  if (c * static_cast<int64_t>(element) % 16 == 0 && aligned(out, in))
    run(uint4{});
  else if (element == 4)
    run(uint32_t{});
  else
    run(uint16_t{});
}

// Weights in cuDNN's order (c_out, kh, kw, c_in), in scratch memory unless they lie so already.
class Filter {
 public:
  Filter(CudaBackend& backend, const ConvShape& s, DType dtype, void* oihw)
      : backend_(backend), s_(s), plain_{oihw, dtype}, same_(s.c_in == 1 || s.kh * s.kw == 1) {
    if (!same_) scratch_.emplace(backend, static_cast<size_t>(s.c_out * s.c_in * s.kh * s.kw) * dtype_size(dtype));
  }
  void* data() const { return same_ ? plain_.data : scratch_->as<void>(); }
  void bring() {  // OIHW to KRSC
    if (!same_) backend_.permute({{data(), plain_.dtype}, plain_, Shape{s_.c_out, s_.c_in, s_.kh, s_.kw}, {0, 2, 3, 1}});
  }
  void take_back() {  // KRSC to OIHW
    if (!same_) backend_.permute({plain_, {data(), plain_.dtype}, Shape{s_.c_out, s_.kh, s_.kw, s_.c_in}, {0, 3, 1, 2}});
  }

 private:
  CudaBackend& backend_;
  const ConvShape& s_;
  const Ref plain_;
  const bool same_;
  std::optional<Scratch> scratch_;
};

// The input image as cuDNN takes it: padded by a copy where the padding differs from side to side.
class Image {
 public:
  Image(CudaBackend& backend, const char* op, const ConvShape& s, const Padding& pad, DType dtype, void* plain)
      : backend_(backend), op_(op), s_(s), pad_(pad), element_(dtype_size(dtype)), plain_(plain) {
    if (pad.copies()) scratch_.emplace(backend, static_cast<size_t>(s.n * pad.height(s) * pad.width(s) * s.c_in) * element_);
  }
  void* data() const { return scratch_ ? scratch_->as<void>() : plain_; }
  void bring() {
    if (scratch_)
      place(backend_, op_, data(), plain_, element_, s_.n, pad_.height(s_), pad_.width(s_), s_.h, s_.w, s_.c_in, pad_.top,
            pad_.left);
  }
  void take_back() {
    if (scratch_)
      place(backend_, op_, plain_, data(), element_, s_.n, s_.h, s_.w, pad_.height(s_), pad_.width(s_), s_.c_in, -pad_.top,
            -pad_.left);
  }

 private:
  CudaBackend& backend_;
  const char* const op_;
  const ConvShape& s_;
  const Padding& pad_;
  const size_t element_;
  void* const plain_;
  std::optional<Scratch> scratch_;
};

void check_dtypes(const char* op, CRef first, std::initializer_list<CRef> others) {
  dispatch_float(first.dtype, op, [&](auto tag) {
    for (const CRef& other : others) as<decltype(tag)>(other, op);
  });
}

CudaConv& opened(CudaBackend& backend, std::shared_ptr<CudaConv>& conv) {
  if (!conv) conv = std::make_shared<CudaConv>(backend);
  return *conv;
}

constexpr float kOne = 1.0f, kZero = 0.0f;

}  // namespace

void CudaBackend::conv2d(const Conv2dArgs& args) {
  const char* op = "conv2d";
  const ConvShape& s = args.s;
  check_dtypes(op, args.y, {args.x, args.weight, args.bias});
  if (s.n == 0) return;
  if (is_matrix_product(s)) {
    MatmulArgs product{};  // y (n·h·w, c_out) = x (n·h·w, c_in)·weightᵀ
    product.c = args.y, product.a = args.x, product.b = args.weight, product.bias = args.bias;
    product.batch = 1, product.m = s.n * s.h * s.w, product.n = s.c_out, product.k = s.c_in;
    product.trans_b = true;
    return matmul(product);
  }
  CudaConv& conv = opened(*this, conv_);
  const DType dtype = args.y.dtype;
  const Padding pad(s);
  const auto plan = conv.plan_for(Direction::Forward, dtype, s, pad);
  Filter filter(*this, s, dtype, const_cast<void*>(args.weight.data));
  Image image(*this, op, s, pad, dtype, const_cast<void*>(args.x.data));
  const Scratch workspace(*this, plan->workspace);
  filter.bring();
  image.bring();
  conv.api.check(conv.api.cudnnConvolutionForward(conv.handle, &kOne, plan->x.get(), image.data(), plan->w.get(), filter.data(),
                                                  plan->conv.get(), static_cast<cudnnConvolutionFwdAlgo_t>(plan->algorithm),
                                                  workspace.as<void>(), plan->workspace, &kZero, plan->y.get(), args.y.data),
                 op);
  if (args.bias) bias_gelu(*this, op, {args.y, {}, args.y, args.bias, s.n * s.oh * s.ow, s.c_out, false});
}

void CudaBackend::conv2d_backward_data(const Conv2dBackwardDataArgs& args) {
  const char* op = "conv2d_backward_data";
  const ConvShape& s = args.s;
  check_dtypes(op, args.dx, {args.dy, args.weight});
  if (s.n == 0) return;
  if (is_matrix_product(s)) {
    MatmulArgs product{};  // dx (n·h·w, c_in) = dy (n·h·w, c_out)·weight
    product.c = args.dx, product.a = args.dy, product.b = args.weight;
    product.batch = 1, product.m = s.n * s.h * s.w, product.n = s.c_in, product.k = s.c_out;
    return matmul(product);
  }
  CudaConv& conv = opened(*this, conv_);
  const DType dtype = args.dx.dtype;
  const Padding pad(s);
  const auto plan = conv.plan_for(Direction::BackwardData, dtype, s, pad);
  Filter filter(*this, s, dtype, const_cast<void*>(args.weight.data));
  Image image(*this, op, s, pad, dtype, args.dx.data);
  const Scratch workspace(*this, plan->workspace);
  filter.bring();
  conv.api.check(
      conv.api.cudnnConvolutionBackwardData(conv.handle, &kOne, plan->w.get(), filter.data(), plan->y.get(), args.dy.data,
                                            plan->conv.get(), static_cast<cudnnConvolutionBwdDataAlgo_t>(plan->algorithm),
                                            workspace.as<void>(), plan->workspace, &kZero, plan->x.get(), image.data()),
      op);
  image.take_back();
}

void CudaBackend::conv2d_backward_weight(const Conv2dBackwardWeightArgs& args) {
  const char* op = "conv2d_backward_weight";
  const ConvShape& s = args.s;
  check_dtypes(op, args.dweight, {args.dbias, args.dy, args.x});
  const DType dtype = args.dweight.dtype;
  // dbias = Σ dy over images and pixels, in the fixed order of `reduce`; nothing to add up gives zeros.
  if (args.dbias) reduce({args.dbias, args.dy, ReduceOp::Sum, 1.0f, s.n * s.oh * s.ow, s.c_out, 1});
  if (s.n == 0 || is_matrix_product(s)) {
    MatmulArgs product{};  // dweight (c_out, c_in·kh·kw) = dyᵀ·x
    product.c = args.dweight, product.a = args.dy, product.b = args.x;
    product.batch = 1, product.m = s.c_out, product.n = s.c_in * s.kh * s.kw, product.k = s.n * s.h * s.w;
    product.trans_a = true;
    return matmul(product);
  }
  CudaConv& conv = opened(*this, conv_);
  const Padding pad(s);
  const auto plan = conv.plan_for(Direction::BackwardWeight, dtype, s, pad);
  Filter filter(*this, s, dtype, args.dweight.data);
  Image image(*this, op, s, pad, dtype, const_cast<void*>(args.x.data));
  const Scratch workspace(*this, plan->workspace);
  image.bring();
  conv.api.check(
      conv.api.cudnnConvolutionBackwardFilter(conv.handle, &kOne, plan->x.get(), image.data(), plan->y.get(), args.dy.data,
                                              plan->conv.get(), static_cast<cudnnConvolutionBwdFilterAlgo_t>(plan->algorithm),
                                              workspace.as<void>(), plan->workspace, &kZero, plan->w.get(), filter.data()),
      op);
  filter.take_back();
}

}  // namespace star
