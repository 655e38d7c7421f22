// Prepares convolutions: cuDNN's descriptors of a shape, and the algorithm that its heuristic puts first among those we take.
#include "core/error.h"
#include "cuda/conv_plan.h"

namespace star {

namespace {

const char* op_name(ConvDirection direction) {
  switch (direction) {
    case ConvDirection::Forward: return "conv2d";
    case ConvDirection::BackwardData: return "conv2d_backward_data";
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

// Algorithms that multiply matrices. Fourier and Winograd transforms lose digits, the rest are named non-deterministic.
bool acceptable(cudnnConvolutionFwdAlgo_t algo) {
  return algo == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM || algo == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM ||
         algo == CUDNN_CONVOLUTION_FWD_ALGO_GEMM;
}
bool acceptable(cudnnConvolutionBwdDataAlgo_t algo) { return algo == CUDNN_CONVOLUTION_BWD_DATA_ALGO_1; }
bool acceptable(cudnnConvolutionBwdFilterAlgo_t algo) { return algo == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1; }

template <class Handle>
CudnnOwned<Handle> owned(const CudnnApi& api, cudnnStatus_t (*create)(Handle*), cudnnStatus_t (*destroy)(Handle),
                         const char* op) {
  Handle made = nullptr;
  api.check(create(&made), op);
  return CudnnOwned<Handle>(made, destroy);
}

template <class Perf, class Find>
void choose(const CudnnApi& api, ConvPlan& plan, const char* op, Find&& find) {
  constexpr int kMost = 8;  // as many as any direction has
  Perf offered[kMost];
  int found = 0;
  api.check(find(kMost, &found, offered), op);
  for (const Perf* perf = offered; perf < offered + found; ++perf)
    if (perf->status == CUDNN_STATUS_SUCCESS && perf->determinism == CUDNN_DETERMINISTIC && acceptable(perf->algo))
      plan.algorithms.push_back({static_cast<int>(perf->algo), perf->memory, perf->mathType});
  // In the library's order, but those that need too much memory come last, the smallest of them first.
  const auto excess = [](const ConvPlan::Algorithm& algorithm) {
    constexpr size_t kMostWorkspace = size_t{1} << 30;
    return algorithm.workspace > kMostWorkspace ? algorithm.workspace : 0;
  };
  std::stable_sort(plan.algorithms.begin(), plan.algorithms.end(),
                   [&](const auto& a, const auto& b) { return excess(a) < excess(b); });
}

}  // namespace

void CudnnApi::check(cudnnStatus_t status, const char* op) const {
  if (status == CUDNN_STATUS_SUCCESS) return;
  if (status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)
    fail(ErrorCode::Memory, "%s: cuDNN is out of memory: use a smaller batch or a smaller model", op);
  fail(ErrorCode::Device, "%s: cuDNN failed: %s (CUDNN_LOGLEVEL_DBG=3 and CUDNN_LOGDEST_DBG=stderr show the call)", op,
       cudnnGetErrorString(status));
}

CudaConv::CudaConv(CudaBackend& backend)
    : handle(nullptr, api.cudnnDestroy),
      identity(owned(api, api.cudnnCreateActivationDescriptor, api.cudnnDestroyActivationDescriptor, "conv2d")) {
  cudnnHandle_t made = nullptr;
  api.check(api.cudnnCreate(&made), "conv2d");
  handle.reset(made);
  api.check(api.cudnnSetStream(made, backend.stream()), "conv2d");
  api.check(api.cudnnSetActivationDescriptor(identity.get(), CUDNN_ACTIVATION_IDENTITY, CUDNN_PROPAGATE_NAN, 0.0), "conv2d");
}

std::shared_ptr<const ConvPlan> CudaConv::make(ConvDirection direction, DType dtype, const ConvShape& s,
                                               const ConvPadding& pad) const {
  const char* op = op_name(direction);
  const auto tensor = [&] { return owned(api, api.cudnnCreateTensorDescriptor, api.cudnnDestroyTensorDescriptor, op); };
  const std::shared_ptr<ConvPlan> plan(new ConvPlan{
      tensor(), tensor(), tensor(), owned(api, api.cudnnCreateFilterDescriptor, api.cudnnDestroyFilterDescriptor, op),
      owned(api, api.cudnnCreateConvolutionDescriptor, api.cudnnDestroyConvolutionDescriptor, op)});
  const cudnnDataType_t type = cudnn_type(dtype);
  const auto number = [](int64_t n) { return static_cast<int>(n); };
  const auto x = plan->x.get(), y = plan->y.get();
  const auto w = plan->w.get();
  const auto conv = plan->conv.get();
  api.check(api.cudnnSetTensor4dDescriptor(x, CUDNN_TENSOR_NHWC, type, number(s.n), number(s.c_in), number(pad.height(s)),
                                           number(pad.width(s))),
            op);
  api.check(api.cudnnSetTensor4dDescriptor(y, CUDNN_TENSOR_NHWC, type, number(s.n), number(s.c_out), number(s.oh), number(s.ow)),
            op);
  api.check(api.cudnnSetTensor4dDescriptor(plan->bias.get(), CUDNN_TENSOR_NHWC, type, 1, number(s.c_out), 1, 1), op);
  api.check(api.cudnnSetFilter4dDescriptor(w, type, CUDNN_TENSOR_NHWC, number(s.c_out), number(s.group_in()), number(s.kh),
                                           number(s.kw)),
            op);
  api.check(api.cudnnSetConvolution2dDescriptor(conv, number(pad.both_h), number(pad.both_w), number(s.stride), number(s.stride),
                                                1, 1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
            op);
  api.check(api.cudnnSetConvolutionGroupCount(conv, number(s.groups)), op);
  api.check(api.cudnnSetConvolutionMathType(conv, dtype == DType::F32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH), op);
  switch (direction) {
    case ConvDirection::Forward:
      choose<cudnnConvolutionFwdAlgoPerf_t>(api, *plan, op, [&](int most, int* found, auto* offered) {
        return api.cudnnGetConvolutionForwardAlgorithm_v7(handle.get(), x, w, conv, y, most, found, offered);
      });
      break;
    case ConvDirection::BackwardData:
      choose<cudnnConvolutionBwdDataAlgoPerf_t>(api, *plan, op, [&](int most, int* found, auto* offered) {
        return api.cudnnGetConvolutionBackwardDataAlgorithm_v7(handle.get(), w, y, conv, x, most, found, offered);
      });
      break;
    case ConvDirection::BackwardWeight:
      choose<cudnnConvolutionBwdFilterAlgoPerf_t>(api, *plan, op, [&](int most, int* found, auto* offered) {
        return api.cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle.get(), x, y, conv, w, most, found, offered);
      });
      break;
  }
  return plan;
}

std::shared_ptr<const ConvPlan> CudaConv::plan_for(ConvDirection direction, DType dtype, const ConvShape& s,
                                                   const ConvPadding& pad) {
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
                pad.both_w,
                s.groups};
  const std::lock_guard lock(mutex_);
  if (const auto it = plans_.find(key); it != plans_.end()) return it->second;
  const auto plan = make(direction, dtype, s, pad);
  constexpr size_t kMost = 4096;
  if (plans_.size() >= kMost) plans_.clear();
  return plans_[key] = plan;
}

}  // namespace star
