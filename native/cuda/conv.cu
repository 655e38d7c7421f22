// Convolution and its gradients by cuDNN on NHWC images, deterministic, f32 without TF32. Weights lie as OIHW and are brought
// into cuDNN's KRSC at every call: they may have changed in place since the last one. Kernels of one pixel are matrix products
// and go to matmul; gradients that cuDNN has no deterministic algorithm for become matrix products over patches, and sums of
// their own in grouped convolutions.
#include <cudnn.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>

#include "core/error.h"
#include "cuda/bias_gelu.h"
#include "cuda/conv_plan.h"
#include "cuda/cuda_backend.h"
#include "cuda/dispatch.h"
#include "cuda/grouped_conv.h"
#include "cuda/patches.h"
#include "cuda/place.h"

namespace star {

namespace {

bool is_matrix_product(const ConvShape& s) {
  return s.groups == 1 && s.kh == 1 && s.kw == 1 && s.stride == 1 && s.pad_top == 0 && s.pad_left == 0 && s.pad_bottom == 0 &&
         s.pad_right == 0;
}

// Weights in cuDNN's order (c_out, kh, kw, c_in / groups), in scratch memory unless they lie so already.
class Filter {
 public:
  Filter(CudaBackend& backend, const ConvShape& s, DType dtype, void* oihw)
      : backend_(backend), s_(s), plain_{oihw, dtype}, same_(s.group_in() == 1 || s.kh * s.kw == 1) {
    if (!same_) scratch_.emplace(backend, static_cast<size_t>(s.weight_count()) * dtype_size(dtype));
  }
  void* data() const { return same_ ? plain_.data : scratch_->as<void>(); }
  void bring() {  // OIHW to KRSC
    if (!same_) backend_.permute({{data(), plain_.dtype}, plain_, Shape{s_.c_out, s_.group_in(), s_.kh, s_.kw}, {0, 2, 3, 1}});
  }
  void take_back() {  // KRSC to OIHW
    if (!same_) backend_.permute({plain_, {data(), plain_.dtype}, Shape{s_.c_out, s_.kh, s_.kw, s_.group_in()}, {0, 3, 1, 2}});
  }

 private:
  CudaBackend& backend_;
  const ConvShape& s_;
  const Ref plain_;
  const bool same_;
  std::optional<Scratch> scratch_;
};

// The input images as cuDNN takes them: padded by a copy where the padding differs from side to side.
class Image {
 public:
  Image(CudaBackend& backend, const char* op, const ConvShape& s, const ConvPadding& pad, DType dtype, void* plain)
      : backend_(backend), op_(op), s_(s), pad_(pad), plain_{plain, dtype} {
    if (pad.copies())
      scratch_.emplace(backend, static_cast<size_t>(s.n * pad.height(s) * pad.width(s) * s.c_in) * dtype_size(dtype));
  }
  void* data() const { return scratch_ ? scratch_->as<void>() : plain_.data; }
  void bring() {
    if (scratch_)
      place_images(backend_, op_,
                   {padded(), plain_, s_.n, pad_.height(s_), pad_.width(s_), s_.h, s_.w, s_.c_in, pad_.top, pad_.left});
  }
  void take_back() {
    if (scratch_)
      place_images(backend_, op_,
                   {plain_, padded(), s_.n, s_.h, s_.w, pad_.height(s_), pad_.width(s_), s_.c_in, -pad_.top, -pad_.left});
  }

 private:
  Ref padded() const { return {data(), plain_.dtype}; }

  CudaBackend& backend_;
  const char* const op_;
  const ConvShape& s_;
  const ConvPadding& pad_;
  const Ref plain_;
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

// cuDNN takes tensors of less than 2³¹ elements: as many images at a time as that allows. At least one, which may be too large.
int64_t images_at_once(const ConvShape& s) {
  if (is_matrix_product(s)) return s.n;
  const ConvPadding pad(s);
  const int64_t image = std::max(pad.height(s) * pad.width(s) * s.c_in, s.oh * s.ow * s.c_out);
  return std::clamp<int64_t>(INT32_MAX / std::max<int64_t>(image, 1), 1, std::max<int64_t>(s.n, 1));
}

// The part of a tensor from image `first` on; `image` is the number of elements of one.
template <class R>
R from_image(const R& all, int64_t first, int64_t image) {
  R part = all;
  if (part.data)
    part.data =
        const_cast<char*>(static_cast<const char*>(part.data)) + first * image * static_cast<int64_t>(dtype_size(part.dtype));
  return part;
}

// f(shape of the part, its first image) for all images, `most` at a time.
template <class F>
void each_part(const ConvShape& s, int64_t most, F&& f) {
  for (int64_t first = 0; first < s.n; first += most) {
    ConvShape part = s;
    part.n = std::min(most, s.n - first);
    f(part, first);
  }
}

constexpr float kOne = 1.0f, kZero = 0.0f;

}  // namespace

void CudaBackend::conv2d(const Conv2dArgs& args) {
  const char* op = "conv2d";
  const ConvShape& s = args.s;
  check_dtypes(op, args.y, {args.x, args.weight, args.bias});
  if (s.n == 0) return;
  if (const int64_t most = images_at_once(s); most < s.n)
    return each_part(s, most, [&](const ConvShape& part, int64_t first) {
      conv2d({from_image(args.y, first, s.oh * s.ow * s.c_out), from_image(args.x, first, s.h * s.w * s.c_in), args.weight,
              args.bias, part});
    });
  if (is_matrix_product(s)) {
    MatmulArgs product{};  // y (n·h·w, c_out) = x (n·h·w, c_in)·weightᵀ
    product.c = args.y, product.a = args.x, product.b = args.weight, product.bias = args.bias;
    product.batch = 1, product.m = s.n * s.h * s.w, product.n = s.c_out, product.k = s.c_in;
    product.trans_b = true;
    return matmul(product);
  }
  CudaConv& conv = opened(*this, conv_);
  const DType dtype = args.y.dtype;
  const ConvPadding pad(s);
  const auto plan = conv.plan_for(ConvDirection::Forward, dtype, s, pad);
  Filter filter(*this, s, dtype, const_cast<void*>(args.weight.data));
  Image image(*this, op, s, pad, dtype, const_cast<void*>(args.x.data));
  filter.bring();
  image.bring();
  bool biased = false;
  const bool done = conv.try_algorithms(*this, op, *plan, dtype, [&](const ConvPlan::Algorithm& chosen, void* workspace) {
    const auto algorithm = static_cast<cudnnConvolutionFwdAlgo_t>(chosen.number);
    // The one algorithm that adds a bias without an activation (cuDNN documentation, CUDNN_ACTIVATION_IDENTITY).
    if (args.bias && plan->fuses_bias && algorithm == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM) {
      const cudnnStatus_t status = conv.api.cudnnConvolutionBiasActivationForward(
          conv.handle.get(), &kOne, plan->x.get(), image.data(), plan->w.get(), filter.data(), plan->conv.get(), algorithm,
          workspace, chosen.workspace, &kZero, plan->y.get(), args.y.data, plan->bias.get(), args.bias.data, conv.identity.get(),
          plan->y.get(), args.y.data);
      biased = status == CUDNN_STATUS_SUCCESS;
      if (biased || !CudaConv::not_supported(status)) return status;
      plan->fuses_bias = false;
    }
    return conv.api.cudnnConvolutionForward(conv.handle.get(), &kOne, plan->x.get(), image.data(), plan->w.get(), filter.data(),
                                            plan->conv.get(), algorithm, workspace, chosen.workspace, &kZero, plan->y.get(),
                                            args.y.data);
  });
  if (!done)
    fail(ErrorCode::Device,
         "%s: cuDNN has no deterministic algorithm for %lld images (%lld, %lld, %lld) and a kernel (%lld, %lld, %lld, %lld) in "
         "%lld groups, %s: "
         "install a newer cuDNN 9",
         op, static_cast<long long>(s.n), static_cast<long long>(s.h), static_cast<long long>(s.w),
         static_cast<long long>(s.c_in), static_cast<long long>(s.c_out), static_cast<long long>(s.group_in()),
         static_cast<long long>(s.kh), static_cast<long long>(s.kw), static_cast<long long>(s.groups), dtype_name(dtype));
  if (args.bias && !biased) bias_gelu(*this, op, {args.y, {}, args.y, args.bias, s.n * s.oh * s.ow, s.c_out, false});
}

void CudaBackend::conv2d_backward_data(const Conv2dBackwardDataArgs& args) {
  const char* op = "conv2d_backward_data";
  const ConvShape& s = args.s;
  check_dtypes(op, args.dx, {args.dy, args.weight});
  if (s.n == 0) return;
  if (const int64_t most = images_at_once(s); most < s.n)
    return each_part(s, most, [&](const ConvShape& part, int64_t first) {
      conv2d_backward_data(
          {from_image(args.dx, first, s.h * s.w * s.c_in), from_image(args.dy, first, s.oh * s.ow * s.c_out), args.weight, part});
    });
  if (is_matrix_product(s)) {
    MatmulArgs product{};  // dx (n·h·w, c_in) = dy (n·h·w, c_out)·weight
    product.c = args.dx, product.a = args.dy, product.b = args.weight;
    product.batch = 1, product.m = s.n * s.h * s.w, product.n = s.c_in, product.k = s.c_out;
    return matmul(product);
  }
  CudaConv& conv = opened(*this, conv_);
  const DType dtype = args.dx.dtype;
  const ConvPadding pad(s);
  const auto plan = conv.plan_for(ConvDirection::BackwardData, dtype, s, pad);
  Filter filter(*this, s, dtype, const_cast<void*>(args.weight.data));
  filter.bring();
  {
    Image image(*this, op, s, pad, dtype, args.dx.data);
    const bool done = conv.try_algorithms(*this, op, *plan, dtype, [&](const ConvPlan::Algorithm& chosen, void* workspace) {
      return conv.api.cudnnConvolutionBackwardData(conv.handle.get(), &kOne, plan->w.get(), filter.data(), plan->y.get(),
                                                   args.dy.data, plan->conv.get(),
                                                   static_cast<cudnnConvolutionBwdDataAlgo_t>(chosen.number), workspace,
                                                   chosen.workspace, &kZero, plan->x.get(), image.data());
    });
    if (done) return image.take_back();
  }
  if (s.groups > 1) return grouped_backward_data(*this, op, args.dx, args.dy, {filter.data(), dtype}, s);
  patches_backward_data(*this, op, args.dx, args.dy, {filter.data(), dtype}, s);
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
    product.batch = 1, product.m = s.c_out, product.n = s.group_in() * s.kh * s.kw, product.k = s.n * s.h * s.w;
    product.trans_a = true;
    return matmul(product);
  }
  if (const int64_t most = images_at_once(s); most < s.n) {
    // The gradients of the parts are added up in f32.
    const int64_t count = s.weight_count();
    const auto bytes = static_cast<size_t>(count) * sizeof(float);
    const Scratch sum(*this, bytes), wide(*this, bytes), narrow(*this, static_cast<size_t>(count) * dtype_size(dtype));
    const Ref total{sum.as<void>(), DType::F32}, added{wide.as<void>(), DType::F32}, one{narrow.as<void>(), dtype};
    each_part(s, most, [&](const ConvShape& part, int64_t first) {
      conv2d_backward_weight(
          {one, {}, from_image(args.dy, first, s.oh * s.ow * s.c_out), from_image(args.x, first, s.h * s.w * s.c_in), part});
      cast({first == 0 ? total : added, one, count});
      if (first > 0) affine({total, total, added, 1.0f, 1.0f, 0.0f, count});
    });
    return cast({args.dweight, total, count});
  }
  CudaConv& conv = opened(*this, conv_);
  const ConvPadding pad(s);
  const auto plan = conv.plan_for(ConvDirection::BackwardWeight, dtype, s, pad);
  Filter filter(*this, s, dtype, args.dweight.data);
  bool done = false;
  if (plan->chosen < plan->algorithms.size()) {
    Image image(*this, op, s, pad, dtype, const_cast<void*>(args.x.data));
    image.bring();
    done = conv.try_algorithms(*this, op, *plan, dtype, [&](const ConvPlan::Algorithm& chosen, void* workspace) {
      return conv.api.cudnnConvolutionBackwardFilter(conv.handle.get(), &kOne, plan->x.get(), image.data(), plan->y.get(),
                                                     args.dy.data, plan->conv.get(),
                                                     static_cast<cudnnConvolutionBwdFilterAlgo_t>(chosen.number), workspace,
                                                     chosen.workspace, &kZero, plan->w.get(), filter.data());
    });
  }
  if (!done) {
    const auto gradient = s.groups > 1 ? grouped_backward_weight : patches_backward_weight;
    gradient(*this, op, {filter.data(), dtype}, args.dy, args.x, s);
  }
  filter.take_back();
}

}  // namespace star
