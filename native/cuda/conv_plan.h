// What conv.cu keeps of cuDNN: the functions, a handle, and one prepared plan a direction, shape and type.
#pragma once

#include <cudnn.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "cuda/cuda_backend.h"
#include "cuda/library.h"

namespace star {

enum class ConvDirection { Forward, BackwardData, BackwardWeight };

// Padding that cuDNN does (the same on both sides) and what is left to a copy of the images.
struct ConvPadding {
  int64_t both_h, both_w;            // on both sides
  int64_t top, left, bottom, right;  // on top of that
  explicit ConvPadding(const ConvShape& s)
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

struct CudnnApi {
#define STAR_FUNCTION(name) decltype(::name)* name = Library::cudnn().function<decltype(::name)>(#name)
  STAR_FUNCTION(cudnnGetErrorString);
  STAR_FUNCTION(cudnnCreate);
  STAR_FUNCTION(cudnnDestroy);
  STAR_FUNCTION(cudnnSetStream);
  STAR_FUNCTION(cudnnCreateTensorDescriptor);
  STAR_FUNCTION(cudnnDestroyTensorDescriptor);
  STAR_FUNCTION(cudnnSetTensor4dDescriptor);
  STAR_FUNCTION(cudnnCreateFilterDescriptor);
  STAR_FUNCTION(cudnnDestroyFilterDescriptor);
  STAR_FUNCTION(cudnnSetFilter4dDescriptor);
  STAR_FUNCTION(cudnnCreateActivationDescriptor);
  STAR_FUNCTION(cudnnDestroyActivationDescriptor);
  STAR_FUNCTION(cudnnSetActivationDescriptor);
  STAR_FUNCTION(cudnnCreateConvolutionDescriptor);
  STAR_FUNCTION(cudnnDestroyConvolutionDescriptor);
  STAR_FUNCTION(cudnnSetConvolution2dDescriptor);
  STAR_FUNCTION(cudnnSetConvolutionMathType);
  STAR_FUNCTION(cudnnSetConvolutionGroupCount);
  STAR_FUNCTION(cudnnGetConvolutionForwardAlgorithm_v7);
  STAR_FUNCTION(cudnnGetConvolutionBackwardDataAlgorithm_v7);
  STAR_FUNCTION(cudnnGetConvolutionBackwardFilterAlgorithm_v7);
  STAR_FUNCTION(cudnnConvolutionForward);
  STAR_FUNCTION(cudnnConvolutionBiasActivationForward);
  STAR_FUNCTION(cudnnConvolutionBackwardData);
  STAR_FUNCTION(cudnnConvolutionBackwardFilter);
#undef STAR_FUNCTION

  // Throws ERR_DEVICE or ERR_MEMORY unless it is success.
  void check(cudnnStatus_t status, const char* op) const;
};

template <class Handle>
using CudnnOwned = std::unique_ptr<std::remove_pointer_t<Handle>, cudnnStatus_t (*)(Handle)>;

struct ConvPlan {
  CudnnOwned<cudnnTensorDescriptor_t> x, y, bias;
  CudnnOwned<cudnnFilterDescriptor_t> w;
  CudnnOwned<cudnnConvolutionDescriptor_t> conv;
  struct Algorithm {
    int number;  // of the direction's enumeration
    size_t workspace;
    cudnnMathType_t math;
  };
  std::vector<Algorithm> algorithms{};         // deterministic ones, the best first
  mutable std::atomic<size_t> chosen{0};       // the first of them that has not been refused
  mutable std::atomic<bool> fuses_bias{true};  // forward: cuDNN adds the bias; false from the first time that it would not
};

struct CudaConv {
  explicit CudaConv(CudaBackend& backend);

  // A plan may have no algorithm: cuDNN offers no deterministic one for the shape.
  std::shared_ptr<const ConvPlan> plan_for(ConvDirection direction, DType dtype, const ConvShape& s, const ConvPadding& pad);

  // Calls run(algorithm, workspace) for one algorithm of the plan after the other until cuDNN does not say "not supported";
  // false when it refused all. One whose workspace there is no memory for at the moment gives way to the next that takes less.
  // Throws ERR_DEVICE for other errors, and ERR_MEMORY where the one that takes least has none either.
  template <class Run>
  bool try_algorithms(CudaBackend& backend, const char* op, const ConvPlan& plan, DType dtype, Run&& run) const {
    for (size_t i = plan.chosen; i < plan.algorithms.size(); ++i) {
      const ConvPlan::Algorithm& algorithm = plan.algorithms[i];
      std::optional<Scratch> workspace;
      try {
        workspace.emplace(backend, algorithm.workspace);
      } catch (const Error& error) {
        const bool smaller = std::any_of(plan.algorithms.begin() + static_cast<ptrdiff_t>(i) + 1, plan.algorithms.end(),
                                         [&](const auto& other) { return other.workspace < algorithm.workspace; });
        if (error.code() != ErrorCode::Memory || !smaller) throw;
        continue;
      }
      // It runs with the kind of arithmetic that it was offered with, f32 never on TF32.
      if (dtype != DType::F32) api.check(api.cudnnSetConvolutionMathType(plan.conv.get(), algorithm.math), op);
      const cudnnStatus_t status = run(algorithm, workspace->as<void>());
      if (status == CUDNN_STATUS_SUCCESS) return true;
      if (!not_supported(status)) api.check(status, op);
      if (plan.chosen == i) plan.chosen = i + 1;
    }
    return false;
  }

  // cuDNN's codes say their kind by thousands; "not supported" may come in several versions.
  static bool not_supported(cudnnStatus_t status) { return static_cast<int>(status) / 1000 * 1000 == CUDNN_STATUS_NOT_SUPPORTED; }

  const CudnnApi api;
  CudnnOwned<cudnnHandle_t> handle;
  CudnnOwned<cudnnActivationDescriptor_t> identity;  // what follows the bias

 private:
  using Key = std::array<int64_t, 13>;
  std::shared_ptr<const ConvPlan> make(ConvDirection direction, DType dtype, const ConvShape& s, const ConvPadding& pad) const;

  std::mutex mutex_;  // guards `plans_`
  std::map<Key, std::shared_ptr<const ConvPlan>> plans_;
};

}  // namespace star
