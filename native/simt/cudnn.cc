// cuDNN's convolutions for the simt build: answers by oneDNN in f32, and refuses what the library refuses. Two of the library's
// traits that tests must be able to see are kept: without CUDNN_FMA_MATH f32 operands are rounded to TF32, and the algorithms
// named non-deterministic give other last bits at every call.
#include <cudnn.h>

#include <cstring>
#include <new>
#include <vector>

#include "simt/elements.h"
#include "simt/stream.h"

using dnnl::memory;
using star::simt::dnnl_engine;
using star::simt::dnnl_stream;
using star::simt::dnnl_view;
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
struct cudnnConvolutionStruct {
  bool set = false;
  int pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w;
  cudnnConvolutionMode_t mode;
  cudnnDataType_t compute;
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
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

struct Geometry {
  Element type;
  bool tf32;
  memory::dims x, w, y, strides, pads;  // n c h w, o i h w
};

cudnnStatus_t describe(cudnnHandle_t handle, cudnnTensorDescriptor_t x, cudnnFilterDescriptor_t w,
                       cudnnConvolutionDescriptor_t conv, cudnnTensorDescriptor_t y, Geometry& g) {
  if (!handle) return CUDNN_STATUS_NOT_INITIALIZED;
  if (!x || !w || !conv || !y) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  if (!x->set || !w->set || !conv->set || !y->set) return CUDNN_STATUS_BAD_PARAM;
  if (x->format != CUDNN_TENSOR_NHWC || w->format != CUDNN_TENSOR_NHWC || y->format != CUDNN_TENSOR_NHWC)
    return CUDNN_STATUS_NOT_SUPPORTED_LAYOUT;
  if (!element_of(x->type, g.type) || w->type != x->type || y->type != x->type || conv->compute != CUDNN_DATA_FLOAT)
    return CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE;
  if (conv->mode != CUDNN_CROSS_CORRELATION || conv->dilation_h != 1 || conv->dilation_w != 1) return CUDNN_STATUS_NOT_SUPPORTED;
  const int oh = (x->h + 2 * conv->pad_h - w->h) / conv->stride_h + 1, ow = (x->w + 2 * conv->pad_w - w->w) / conv->stride_w + 1;
  if (x->c != w->c || y->c != w->k || y->n != x->n || x->h + 2 * conv->pad_h < w->h || x->w + 2 * conv->pad_w < w->w ||
      y->h != oh || y->w != ow)
    return CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH;
  g.tf32 = g.type == Element::F32 && conv->math != CUDNN_FMA_MATH;
  g.x = {x->n, x->c, x->h, x->w};
  g.w = {w->k, w->c, w->h, w->w};
  g.y = {y->n, y->c, y->h, y->w};
  g.strides = {conv->stride_h, conv->stride_w};
  g.pads = {conv->pad_h, conv->pad_w};
  return CUDNN_STATUS_SUCCESS;
}

int64_t count_of(const memory::dims& dims) { return dims[0] * dims[1] * dims[2] * dims[3]; }

float to_tf32(float x) {  // 10 bits of mantissa, to nearest even
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits = (bits + 0xfff + ((bits >> 13) & 1)) & ~uint32_t{0x1fff};
  std::memcpy(&x, &bits, 4);
  return x;
}

// An operand as the multipliers see it.
std::vector<float> widen(const Geometry& g, const memory::dims& dims, const void* data) {
  std::vector<float> wide(static_cast<size_t>(count_of(dims)));
  for (size_t i = 0; i < wide.size(); ++i) {
    wide[i] = star::simt::load_element(data, g.type, i);
    if (g.tf32) wide[i] = to_tf32(wide[i]);
  }
  return wide;
}

void narrow(const Geometry& g, std::vector<float>& values, bool vary, void* to) {
  static unsigned calls = 0;
  if (vary) values[calls++ % values.size()] *= 1.0f + 1e-6f;  // sums that met in another order
  for (size_t i = 0; i < values.size(); ++i) star::simt::store_element(to, g.type, i, values[i]);
}

constexpr auto kF32 = memory::data_type::f32;
memory::desc images(const memory::dims& dims) { return {dims, kF32, memory::format_tag::nhwc}; }
memory::desc filters(const memory::dims& dims) { return {dims, kF32, memory::format_tag::ohwi}; }  // KRSC
memory::desc any_filters(const memory::dims& dims) { return {dims, kF32, memory::format_tag::any}; }

void reorder(const memory& from, const memory& to) {
  dnnl::reorder(from, to).execute(dnnl_stream(), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
}

dnnl::convolution_forward::primitive_desc forward_desc(const Geometry& g) {
  return {{dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, images(g.x), any_filters(g.w), images(g.y),
           g.strides, g.pads, g.pads},
          dnnl_engine()};
}

// What an algorithm asks for: index tables of the "precomputed" kind.
size_t workspace_of(const Geometry& g) { return static_cast<size_t>(g.w[1] * g.w[2] * g.w[3]) * 8; }

cudnnStatus_t check_call(const void* alpha, const void* beta, const void* in0, const void* in1, void* out, void* workspace,
                         size_t workspace_bytes, size_t needed, const Geometry& g) {
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
  const cudaError_t done = star::simt::submit(handle->stream, [=] {
    if (needed > 0) std::memset(workspace, 0xa5, needed);
    try {
      body();
      return cudaSuccess;
    } catch (const std::bad_alloc&) {
      return cudaErrorMemoryAllocation;
    } catch (const dnnl::error&) {
      return cudaErrorLaunchFailure;
    }
  });
  switch (done) {
    case cudaSuccess: return CUDNN_STATUS_SUCCESS;
    case cudaErrorMemoryAllocation: return CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
    default: return CUDNN_STATUS_EXECUTION_FAILED;
  }
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

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t x,
                                                     const cudnnFilterDescriptor_t w, const cudnnConvolutionDescriptor_t conv,
                                                     const cudnnTensorDescriptor_t y, const int wanted, int* found,
                                                     cudnnConvolutionFwdAlgoPerf_t* results) {
  Geometry g;
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
  Geometry g;
  cudnnStatus_t status = describe(handle, x, w, conv, y, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (algo != CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM && algo != CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM)
    return CUDNN_STATUS_NOT_SUPPORTED;
  const size_t needed = algo == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM ? workspace_of(g) : 0;
  status = check_call(alpha, beta, x_data, w_data, y_data, workspace, workspace_bytes, needed, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return submit(handle, workspace, needed, [=] {
    const auto desc = forward_desc(g);
    const std::vector<float> x32 = widen(g, g.x, x_data), w32 = widen(g, g.w, w_data);
    std::vector<float> y32(static_cast<size_t>(count_of(g.y)));
    memory blocked(desc.weights_desc(), dnnl_engine());
    reorder(dnnl_view(filters(g.w), w32.data()), blocked);
    dnnl::convolution_forward(desc).execute(dnnl_stream(), {{DNNL_ARG_SRC, dnnl_view(images(g.x), x32.data())},
                                                            {DNNL_ARG_WEIGHTS, blocked},
                                                            {DNNL_ARG_DST, dnnl_view(images(g.y), y32.data())}});
    narrow(g, y32, false, y_data);
  });
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t handle, const cudnnFilterDescriptor_t w,
                                                          const cudnnTensorDescriptor_t dy,
                                                          const cudnnConvolutionDescriptor_t conv,
                                                          const cudnnTensorDescriptor_t dx, const int wanted, int* found,
                                                          cudnnConvolutionBwdDataAlgoPerf_t* results) {
  Geometry g;
  const cudnnStatus_t status = describe(handle, dx, w, conv, dy, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  using Perf = cudnnConvolutionBwdDataAlgoPerf_t;
  return offer<Perf>(
      {{CUDNN_CONVOLUTION_BWD_DATA_ALGO_0, CUDNN_STATUS_SUCCESS, -1, 0, CUDNN_NON_DETERMINISTIC, conv->math, {}},
       {CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, CUDNN_STATUS_SUCCESS, -1, workspace_of(g), CUDNN_DETERMINISTIC, conv->math, {}}},
      wanted, found, results);
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void* alpha, const cudnnFilterDescriptor_t w,
                                           const void* w_data, const cudnnTensorDescriptor_t dy, const void* dy_data,
                                           const cudnnConvolutionDescriptor_t conv, cudnnConvolutionBwdDataAlgo_t algo,
                                           void* workspace, size_t workspace_bytes, const void* beta,
                                           const cudnnTensorDescriptor_t dx, void* dx_data) {
  Geometry g;
  cudnnStatus_t status = describe(handle, dx, w, conv, dy, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (algo != CUDNN_CONVOLUTION_BWD_DATA_ALGO_0 && algo != CUDNN_CONVOLUTION_BWD_DATA_ALGO_1) return CUDNN_STATUS_NOT_SUPPORTED;
  const bool vary = algo == CUDNN_CONVOLUTION_BWD_DATA_ALGO_0;
  const size_t needed = vary ? 0 : workspace_of(g);
  status = check_call(alpha, beta, w_data, dy_data, dx_data, workspace, workspace_bytes, needed, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return submit(handle, workspace, needed, [=] {
    const dnnl::convolution_backward_data::primitive_desc desc(
        {dnnl::algorithm::convolution_direct, images(g.x), any_filters(g.w), images(g.y), g.strides, g.pads, g.pads},
        dnnl_engine(), forward_desc(g));
    const std::vector<float> dy32 = widen(g, g.y, dy_data), w32 = widen(g, g.w, w_data);
    std::vector<float> dx32(static_cast<size_t>(count_of(g.x)));
    memory blocked(desc.weights_desc(), dnnl_engine());
    reorder(dnnl_view(filters(g.w), w32.data()), blocked);
    dnnl::convolution_backward_data(desc).execute(dnnl_stream(), {{DNNL_ARG_DIFF_DST, dnnl_view(images(g.y), dy32.data())},
                                                                  {DNNL_ARG_WEIGHTS, blocked},
                                                                  {DNNL_ARG_DIFF_SRC, dnnl_view(images(g.x), dx32.data())}});
    narrow(g, dx32, vary, dx_data);
  });
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t x,
                                                            const cudnnTensorDescriptor_t dy,
                                                            const cudnnConvolutionDescriptor_t conv,
                                                            const cudnnFilterDescriptor_t dw, const int wanted, int* found,
                                                            cudnnConvolutionBwdFilterAlgoPerf_t* results) {
  Geometry g;
  const cudnnStatus_t status = describe(handle, x, dw, conv, dy, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  using Perf = cudnnConvolutionBwdFilterAlgoPerf_t;
  return offer<Perf>(
      {{CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, CUDNN_STATUS_SUCCESS, -1, 0, CUDNN_NON_DETERMINISTIC, conv->math, {}},
       {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3, CUDNN_STATUS_SUCCESS, -1, 0, CUDNN_NON_DETERMINISTIC, conv->math, {}},
       {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, CUDNN_STATUS_SUCCESS, -1, workspace_of(g), CUDNN_DETERMINISTIC, conv->math, {}}},
      wanted, found, results);
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void* alpha, const cudnnTensorDescriptor_t x,
                                             const void* x_data, const cudnnTensorDescriptor_t dy, const void* dy_data,
                                             const cudnnConvolutionDescriptor_t conv, cudnnConvolutionBwdFilterAlgo_t algo,
                                             void* workspace, size_t workspace_bytes, const void* beta,
                                             const cudnnFilterDescriptor_t dw, void* dw_data) {
  Geometry g;
  cudnnStatus_t status = describe(handle, x, dw, conv, dy, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  const bool vary = algo == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 || algo == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3;
  if (algo != CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1 && !vary) return CUDNN_STATUS_NOT_SUPPORTED;
  const size_t needed = vary ? 0 : workspace_of(g);
  status = check_call(alpha, beta, x_data, dy_data, dw_data, workspace, workspace_bytes, needed, g);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  return submit(handle, workspace, needed, [=] {
    const dnnl::convolution_backward_weights::primitive_desc desc(
        {dnnl::algorithm::convolution_direct, images(g.x), any_filters(g.w), images(g.y), g.strides, g.pads, g.pads},
        dnnl_engine(), forward_desc(g));
    const std::vector<float> x32 = widen(g, g.x, x_data), dy32 = widen(g, g.y, dy_data);
    std::vector<float> dw32(static_cast<size_t>(count_of(g.w)));
    memory blocked(desc.diff_weights_desc(), dnnl_engine());
    dnnl::convolution_backward_weights(desc).execute(dnnl_stream(), {{DNNL_ARG_SRC, dnnl_view(images(g.x), x32.data())},
                                                                     {DNNL_ARG_DIFF_DST, dnnl_view(images(g.y), dy32.data())},
                                                                     {DNNL_ARG_DIFF_WEIGHTS, blocked}});
    reorder(blocked, dnnl_view(filters(g.w), dw32.data()));
    narrow(g, dw32, vary, dw_data);
  });
}
}
