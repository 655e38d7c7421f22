// cuDNN's convolutions for the simt build: answers by oneDNN in f32, and refuses what the library refuses. Two of the library's
// traits that tests must be able to see are kept: without CUDNN_FMA_MATH f32 operands are rounded to TF32, and the algorithms
// named non-deterministic give other last bits at every call.
#include <cudnn.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <vector>

#include "simt/audit.h"
#include "simt/convolution.h"
#include "simt/elements.h"
#include "simt/memory.h"
#include "simt/stream.h"

using star::simt::Convolution;
using star::simt::Element;

struct cudnnContext {
  cudaStream_t stream = nullptr;
};
struct cudnnTensorStruct {
  bool set = false;
  cudnnTensorFormat_t format;
  cudnnDataType_t type;
  int n, c, h, w;
};
struct cudnnFilterStruct {
  bool set = false;
  cudnnDataType_t type;
  cudnnTensorFormat_t format;
  int k, c, h, w;
};
struct cudnnActivationStruct {
  bool set = false;
  cudnnActivationMode_t mode;
};
struct cudnnConvolutionStruct {
  bool set = false;
  int pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w;
  cudnnConvolutionMode_t mode;
  cudnnDataType_t compute;
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
  int groups = 1;
};

namespace {

bool element_of(cudnnDataType_t type, Element& element) {
  switch (type) {
    case CUDNN_DATA_FLOAT: element = Element::F32; return true;
    case CUDNN_DATA_HALF: element = Element::F16; return true;
    case CUDNN_DATA_BFLOAT16: element = Element::BF16; return true;
  }
  return false;
}

cudnnStatus_t describe(cudnnHandle_t handle, cudnnTensorDescriptor_t x, cudnnFilterDescriptor_t w,
                       cudnnConvolutionDescriptor_t conv, cudnnTensorDescriptor_t y, Convolution& g) {
  if (!handle) return CUDNN_STATUS_NOT_INITIALIZED;
  if (!x || !w || !conv || !y) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  if (!x->set || !w->set || !conv->set || !y->set) return CUDNN_STATUS_BAD_PARAM;
  if (x->format != CUDNN_TENSOR_NHWC || w->format != CUDNN_TENSOR_NHWC || y->format != CUDNN_TENSOR_NHWC)
    return CUDNN_STATUS_NOT_SUPPORTED_LAYOUT;
  if (!element_of(x->type, g.type) || w->type != x->type || y->type != x->type || conv->compute != CUDNN_DATA_FLOAT)
    return CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE;
  if (conv->mode != CUDNN_CROSS_CORRELATION || conv->dilation_h != 1 || conv->dilation_w != 1) return CUDNN_STATUS_NOT_SUPPORTED;
  const int oh = (x->h + 2 * conv->pad_h - w->h) / conv->stride_h + 1, ow = (x->w + 2 * conv->pad_w - w->w) / conv->stride_w + 1;
  if (x->c != w->c * conv->groups || w->k % conv->groups != 0 || y->c != w->k || y->n != x->n || x->h + 2 * conv->pad_h < w->h ||
      x->w + 2 * conv->pad_w < w->w || y->h != oh || y->w != ow)
    return CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH;
  g.tf32 = g.type == Element::F32 && conv->math != CUDNN_FMA_MATH;
  g.x = {x->n, x->c, x->h, x->w};
  g.w = {w->k, w->c, w->h, w->w};
  g.y = {y->n, y->c, y->h, y->w};
  g.strides = {conv->stride_h, conv->stride_w};
  g.pads = {conv->pad_h, conv->pad_w};
  g.groups = conv->groups;
  return CUDNN_STATUS_SUCCESS;
}

// What an algorithm asks for: index tables of the "precomputed" kind.
size_t workspace_of(const Convolution& g) { return static_cast<size_t>(g.w[1] * g.w[2] * g.w[3]) * 8; }

cudnnStatus_t check_call(const void* alpha, const void* beta, const void* in0, const void* in1, void* out, void* workspace,
                         size_t workspace_bytes, size_t needed, const Convolution& g) {
  if (!alpha || !beta || !in0 || !in1 || !out) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  if (*static_cast<const float*>(alpha) != 1.0f || *static_cast<const float*>(beta) != 0.0f) return CUDNN_STATUS_NOT_SUPPORTED;
  const size_t size = star::simt::element_size(g.type);
  if (!star::simt::aligned(in0, size) || !star::simt::aligned(in1, size) || !star::simt::aligned(out, size))
    return CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER;
  if (needed > 0) {
    if (!workspace) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
    if (workspace_bytes < needed) return CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT;
  }
  return CUDNN_STATUS_SUCCESS;
}

// Gives work to the handle's stream; `needed` bytes of the workspace are overwritten.
template <class Body>
cudnnStatus_t submit(cudnnHandle_t handle, void* workspace, size_t needed, Body body) {
  ++star::simt::counts().library_calls;
  const cudaError_t done = star::simt::submit(handle->stream, [=] {
    if (needed > 0) {
      if (!star::simt::DeviceMemory::instance().contains(workspace, needed)) return cudaErrorLaunchFailure;
      if (!star::simt::audit_enabled()) std::memset(workspace, 0xa5, needed);
      star::simt::DeviceMemory::instance().mark_written(workspace, needed);
    }
    try {
      body();
      return cudaSuccess;
    } catch (const std::bad_alloc&) {
      return cudaErrorMemoryAllocation;
    } catch (const dnnl::error&) {
      return cudaErrorLaunchFailure;
    } catch (const std::out_of_range&) {
      return cudaErrorLaunchFailure;
    }
  });
  switch (done) {
    case cudaSuccess: return CUDNN_STATUS_SUCCESS;
    case cudaErrorMemoryAllocation: return CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
    default: return CUDNN_STATUS_EXECUTION_FAILED;
  }
}

// y = conv(x, w) + bias (c), bias optional.
cudnnStatus_t forward(cudnnHandle_t handle, const Convolution& g, cudnnConvolutionFwdAlgo_t algo, const void* alpha,
                      const void* beta, const void* x, const void* w, const void* bias, void* workspace, size_t workspace_bytes,
                      void* y) {
  if (algo != CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM && algo != CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM)
    return CUDNN_STATUS_NOT_SUPPORTED;
  const size_t needed = algo == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM ? workspace_of(g) : 0;
  const cudnnStatus_t status = check_call(alpha, beta, x, w, y, workspace, workspace_bytes, needed, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return submit(handle, workspace, needed, [=] { star::simt::convolve(g, x, w, bias, y); });
}

// Whether gradients are refused where the library may refuse any of them: STAR_SIMT_CUDNN=heuristic offers no deterministic
// algorithm, STAR_SIMT_CUDNN=call offers one that does not run.
bool refuses(const char* where) {
  const char* asked = std::getenv("STAR_SIMT_CUDNN");
  return asked && std::strcmp(asked, where) == 0;
}

// Writes the first `wanted` of the candidates, best first.
template <class Perf>
cudnnStatus_t offer(const std::vector<Perf>& candidates, int wanted, int* found, Perf* results) {
  if (wanted <= 0 || !found || !results) return CUDNN_STATUS_BAD_PARAM;
  *found = 0;
  for (const Perf& candidate : candidates)
    if (*found < wanted) results[(*found)++] = candidate;
  return CUDNN_STATUS_SUCCESS;
}

template <class T>
cudnnStatus_t create(T** object) {
  if (!object) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  *object = new (std::nothrow) T;
  return *object ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
}
template <class T>
cudnnStatus_t destroy(T* object) {
  delete object;
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace

extern "C" {

const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_BAD_PARAM_NULL_POINTER: return "CUDNN_STATUS_BAD_PARAM_NULL_POINTER";
    case CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER: return "CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER";
    case CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT: return "CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT";
    case CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH: return "CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE: return "CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE";
    case CUDNN_STATUS_NOT_SUPPORTED_LAYOUT: return "CUDNN_STATUS_NOT_SUPPORTED_LAYOUT";
    case CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED: return "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED";
    case CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED: return "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED";
    case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
  }
  return "unknown status";
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) { return create(handle); }
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return destroy(handle); }
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  if (!handle) return CUDNN_STATUS_NOT_INITIALIZED;
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* tensor) { return create(tensor); }
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t tensor) { return destroy(tensor); }
cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t tensor, cudnnTensorFormat_t format, cudnnDataType_t type, int n,
                                         int c, int h, int w) {
  if (!tensor || n < 1 || c < 1 || h < 1 || w < 1) return CUDNN_STATUS_BAD_PARAM;
  // A tensor has less than 2³¹ elements (cuDNN reference, cudnnSetTensor4dDescriptor).
  if (static_cast<__int128>(n) * c * h * w > INT32_MAX) return CUDNN_STATUS_NOT_SUPPORTED;
  *tensor = {true, format, type, n, c, h, w};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* filter) { return create(filter); }
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t filter) { return destroy(filter); }
cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t filter, cudnnDataType_t type, cudnnTensorFormat_t format, int k,
                                         int c, int h, int w) {
  if (!filter || k < 1 || c < 1 || h < 1 || w < 1) return CUDNN_STATUS_BAD_PARAM;
  *filter = {true, type, format, k, c, h, w};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateActivationDescriptor(cudnnActivationDescriptor_t* activation) { return create(activation); }
cudnnStatus_t cudnnDestroyActivationDescriptor(cudnnActivationDescriptor_t activation) { return destroy(activation); }
cudnnStatus_t cudnnSetActivationDescriptor(cudnnActivationDescriptor_t activation, cudnnActivationMode_t mode,
                                           cudnnNanPropagation_t, double) {
  if (!activation) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  *activation = {true, mode};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* convolution) { return create(convolution); }
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t convolution) { return destroy(convolution); }
cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t convolution, int pad_h, int pad_w, int stride_h,
                                              int stride_w, int dilation_h, int dilation_w, cudnnConvolutionMode_t mode,
                                              cudnnDataType_t compute) {
  if (!convolution || pad_h < 0 || pad_w < 0 || stride_h < 1 || stride_w < 1 || dilation_h < 1 || dilation_w < 1)
    return CUDNN_STATUS_BAD_PARAM;
  *convolution = {true, pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, mode, compute};
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t convolution, cudnnMathType_t math) {
  if (!convolution) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  convolution->math = math;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t convolution, int groups) {
  if (!convolution) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  if (groups < 1) return CUDNN_STATUS_BAD_PARAM;
  convolution->groups = groups;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t x,
                                                     const cudnnFilterDescriptor_t w, const cudnnConvolutionDescriptor_t conv,
                                                     const cudnnTensorDescriptor_t y, const int wanted, int* found,
                                                     cudnnConvolutionFwdAlgoPerf_t* results) {
  Convolution g;
  const cudnnStatus_t status = describe(handle, x, w, conv, y, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  using Perf = cudnnConvolutionFwdAlgoPerf_t;
  return offer<Perf>(
      {{CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD, CUDNN_STATUS_NOT_SUPPORTED, -1, 0, CUDNN_DETERMINISTIC, conv->math, {}},
       {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
        CUDNN_STATUS_SUCCESS,
        -1,
        workspace_of(g),
        CUDNN_DETERMINISTIC,
        conv->math,
        {}},
       {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, CUDNN_STATUS_SUCCESS, -1, 0, CUDNN_DETERMINISTIC, conv->math, {}}},
      wanted, found, results);
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void* alpha, const cudnnTensorDescriptor_t x,
                                      const void* x_data, const cudnnFilterDescriptor_t w, const void* w_data,
                                      const cudnnConvolutionDescriptor_t conv, cudnnConvolutionFwdAlgo_t algo, void* workspace,
                                      size_t workspace_bytes, const void* beta, const cudnnTensorDescriptor_t y, void* y_data) {
  Convolution g;
  const cudnnStatus_t status = describe(handle, x, w, conv, y, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return forward(handle, g, algo, alpha, beta, x_data, w_data, nullptr, workspace, workspace_bytes, y_data);
}

cudnnStatus_t cudnnConvolutionBiasActivationForward(cudnnHandle_t handle, const void* alpha1, const cudnnTensorDescriptor_t x,
                                                    const void* x_data, const cudnnFilterDescriptor_t w, const void* w_data,
                                                    const cudnnConvolutionDescriptor_t conv, cudnnConvolutionFwdAlgo_t algo,
                                                    void* workspace, size_t workspace_bytes, const void* alpha2,
                                                    const cudnnTensorDescriptor_t z, const void* z_data,
                                                    const cudnnTensorDescriptor_t bias, const void* bias_data,
                                                    const cudnnActivationDescriptor_t activation, const cudnnTensorDescriptor_t y,
                                                    void* y_data) {
  Convolution g;
  const cudnnStatus_t status = describe(handle, x, w, conv, y, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (!z || !z_data || !bias || !bias_data || !activation) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  if (!z->set || !bias->set || !activation->set) return CUDNN_STATUS_BAD_PARAM;
  if (bias->type != y->type) return CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE;
  if (bias->n != 1 || bias->c != y->c || bias->h != 1 || bias->w != 1 || z->n != y->n || z->c != y->c || z->h != y->h ||
      z->w != y->w)
    return CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH;
  // The identity goes with one algorithm only. Rows of whole vectors: so that callers are seen to live without the fused form.
  if (activation->mode != CUDNN_ACTIVATION_IDENTITY || algo != CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM ||
      static_cast<size_t>(y->c) * star::simt::element_size(g.type) % 16 != 0)
    return CUDNN_STATUS_NOT_SUPPORTED;
  return forward(handle, g, algo, alpha1, alpha2, x_data, w_data, bias_data, workspace, workspace_bytes, y_data);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t handle, const cudnnFilterDescriptor_t w,
                                                          const cudnnTensorDescriptor_t dy,
                                                          const cudnnConvolutionDescriptor_t conv,
                                                          const cudnnTensorDescriptor_t dx, const int wanted, int* found,
                                                          cudnnConvolutionBwdDataAlgoPerf_t* results) {
  Convolution g;
  const cudnnStatus_t status = describe(handle, dx, w, conv, dy, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  using Perf = cudnnConvolutionBwdDataAlgoPerf_t;
  const cudnnStatus_t deterministic = refuses("heuristic") ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS;
  return offer<Perf>(
      {{CUDNN_CONVOLUTION_BWD_DATA_ALGO_0, CUDNN_STATUS_SUCCESS, -1, 0, CUDNN_NON_DETERMINISTIC, conv->math, {}},
       {CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, deterministic, -1, workspace_of(g), CUDNN_DETERMINISTIC, conv->math, {}}},
      wanted, found, results);
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void* alpha, const cudnnFilterDescriptor_t w,
                                           const void* w_data, const cudnnTensorDescriptor_t dy, const void* dy_data,
                                           const cudnnConvolutionDescriptor_t conv, cudnnConvolutionBwdDataAlgo_t algo,
                                           void* workspace, size_t workspace_bytes, const void* beta,
                                           const cudnnTensorDescriptor_t dx, void* dx_data) {
  Convolution g;
  cudnnStatus_t status = describe(handle, dx, w, conv, dy, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (algo != CUDNN_CONVOLUTION_BWD_DATA_ALGO_0 && algo != CUDNN_CONVOLUTION_BWD_DATA_ALGO_1) return CUDNN_STATUS_NOT_SUPPORTED;
  if (refuses("call")) return CUDNN_STATUS_NOT_SUPPORTED;
  const bool vary = algo == CUDNN_CONVOLUTION_BWD_DATA_ALGO_0;
  const size_t needed = vary ? 0 : workspace_of(g);
  status = check_call(alpha, beta, w_data, dy_data, dx_data, workspace, workspace_bytes, needed, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return submit(handle, workspace, needed, [=] { star::simt::convolve_backward_data(g, w_data, dy_data, vary, dx_data); });
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t x,
                                                            const cudnnTensorDescriptor_t dy,
                                                            const cudnnConvolutionDescriptor_t conv,
                                                            const cudnnFilterDescriptor_t dw, const int wanted, int* found,
                                                            cudnnConvolutionBwdFilterAlgoPerf_t* results) {
  Convolution g;
  const cudnnStatus_t status = describe(handle, x, dw, conv, dy, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  using Perf = cudnnConvolutionBwdFilterAlgoPerf_t;
  const cudnnStatus_t deterministic = refuses("heuristic") ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS;
  return offer<Perf>(
      {{CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, CUDNN_STATUS_SUCCESS, -1, 0, CUDNN_NON_DETERMINISTIC, conv->math, {}},
       {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3, CUDNN_STATUS_SUCCESS, -1, 0, CUDNN_NON_DETERMINISTIC, conv->math, {}},
       {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, deterministic, -1, workspace_of(g), CUDNN_DETERMINISTIC, conv->math, {}}},
      wanted, found, results);
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void* alpha, const cudnnTensorDescriptor_t x,
                                             const void* x_data, const cudnnTensorDescriptor_t dy, const void* dy_data,
                                             const cudnnConvolutionDescriptor_t conv, cudnnConvolutionBwdFilterAlgo_t algo,
                                             void* workspace, size_t workspace_bytes, const void* beta,
                                             const cudnnFilterDescriptor_t dw, void* dw_data) {
  Convolution g;
  cudnnStatus_t status = describe(handle, x, dw, conv, dy, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  const bool vary = algo == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 || algo == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3;
  if (algo != CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1 && !vary) return CUDNN_STATUS_NOT_SUPPORTED;
  if (refuses("call")) return CUDNN_STATUS_NOT_SUPPORTED;
  const size_t needed = vary ? 0 : workspace_of(g);
  status = check_call(alpha, beta, x_data, dy_data, dw_data, workspace, workspace_bytes, needed, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return submit(handle, workspace, needed, [=] { star::simt::convolve_backward_weight(g, x_data, dy_data, vary, dw_data); });
}
}
