// Library for the simt build: the functions that native/cuda asks for, linked in.
#include "cuda/library.h"

#include <cublasLt.h>
#include <cudnn.h>
#include <nccl.h>

#include <cstring>

#include "core/error.h"

namespace star {

namespace {

struct Function {
  const char* name;
  void* address;
};
#define STAR_FUNCTION(name) \
  Function { #name, reinterpret_cast < void*>(&name) }

const Function kFunctions[] = {
    STAR_FUNCTION(cublasLtCreate),
    STAR_FUNCTION(cublasLtDestroy),
    STAR_FUNCTION(cublasLtGetStatusString),
    STAR_FUNCTION(cublasLtMatrixLayoutCreate),
    STAR_FUNCTION(cublasLtMatrixLayoutDestroy),
    STAR_FUNCTION(cublasLtMatrixLayoutSetAttribute),
    STAR_FUNCTION(cublasLtMatmulDescCreate),
    STAR_FUNCTION(cublasLtMatmulDescDestroy),
    STAR_FUNCTION(cublasLtMatmulDescSetAttribute),
    STAR_FUNCTION(cublasLtMatmulPreferenceCreate),
    STAR_FUNCTION(cublasLtMatmulPreferenceDestroy),
    STAR_FUNCTION(cublasLtMatmulPreferenceSetAttribute),
    STAR_FUNCTION(cublasLtMatmulAlgoGetHeuristic),
    STAR_FUNCTION(cublasLtMatmul),
    STAR_FUNCTION(cudnnGetErrorString),
    STAR_FUNCTION(cudnnCreate),
    STAR_FUNCTION(cudnnDestroy),
    STAR_FUNCTION(cudnnSetStream),
    STAR_FUNCTION(cudnnCreateTensorDescriptor),
    STAR_FUNCTION(cudnnDestroyTensorDescriptor),
    STAR_FUNCTION(cudnnSetTensor4dDescriptor),
    STAR_FUNCTION(cudnnCreateFilterDescriptor),
    STAR_FUNCTION(cudnnDestroyFilterDescriptor),
    STAR_FUNCTION(cudnnSetFilter4dDescriptor),
    STAR_FUNCTION(cudnnCreateActivationDescriptor),
    STAR_FUNCTION(cudnnDestroyActivationDescriptor),
    STAR_FUNCTION(cudnnSetActivationDescriptor),
    STAR_FUNCTION(cudnnCreateConvolutionDescriptor),
    STAR_FUNCTION(cudnnDestroyConvolutionDescriptor),
    STAR_FUNCTION(cudnnSetConvolution2dDescriptor),
    STAR_FUNCTION(cudnnSetConvolutionMathType),
    STAR_FUNCTION(cudnnSetConvolutionGroupCount),
    STAR_FUNCTION(cudnnGetConvolutionForwardAlgorithm_v7),
    STAR_FUNCTION(cudnnConvolutionForward),
    STAR_FUNCTION(cudnnConvolutionBiasActivationForward),
    STAR_FUNCTION(cudnnGetConvolutionBackwardDataAlgorithm_v7),
    STAR_FUNCTION(cudnnConvolutionBackwardData),
    STAR_FUNCTION(cudnnGetConvolutionBackwardFilterAlgorithm_v7),
    STAR_FUNCTION(cudnnConvolutionBackwardFilter),
    STAR_FUNCTION(ncclGetErrorString),
    STAR_FUNCTION(ncclGetLastError),
    STAR_FUNCTION(ncclGetUniqueId),
    STAR_FUNCTION(ncclCommInitRankConfig),
    STAR_FUNCTION(ncclCommGetAsyncError),
    STAR_FUNCTION(ncclCommFinalize),
    STAR_FUNCTION(ncclCommDestroy),
    STAR_FUNCTION(ncclCommAbort),
    STAR_FUNCTION(ncclGroupStart),
    STAR_FUNCTION(ncclGroupEnd),
    STAR_FUNCTION(ncclAllReduce),
    STAR_FUNCTION(ncclReduceScatter),
    STAR_FUNCTION(ncclAllGather),
    STAR_FUNCTION(ncclBroadcast),
};
#undef STAR_FUNCTION

}  // namespace

Library::Library(std::string title, std::string file, std::string wheel, std::vector<std::string>)
    : title_(std::move(title)), file_(std::move(file)), wheel_(std::move(wheel)) {}

Library& Library::cublaslt() {
  static Library library("cuBLASLt's stand-in", "", "");
  return library;
}

Library& Library::cudnn() {
  static Library library("cuDNN's stand-in", "", "");
  return library;
}

Library& Library::nccl() {
  static Library library("NCCL's stand-in", "", "");
  return library;
}

bool Library::available(const std::vector<Library*>&, std::string*) { return true; }

void* Library::symbol(const char* name) {
  for (const Function& function : kFunctions)
    if (std::strcmp(function.name, name) == 0) return function.address;
  fail(ErrorCode::Internal, "%s has no function %s: add it to native/simt", title_.c_str(), name);
}

}  // namespace star
