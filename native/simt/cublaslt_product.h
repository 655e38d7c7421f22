// What the stand-in of cuBLASLt is asked for: one product with its epilogue, as the library's descriptions say it.
#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <cstdint>

#include "simt/elements.h"

struct cublasLtMatrixLayoutOpaque_t {
  uint32_t type;
  uint64_t rows, cols;
  int64_t ld;
  int32_t batch = 1;
  int64_t batch_stride = 0;
};

struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  int32_t trans_a = CUBLAS_OP_N, trans_b = CUBLAS_OP_N;
  uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void* bias = nullptr;
  void* aux = nullptr;
  int64_t aux_ld = 0, aux_stride = 0;
};

namespace star::simt {

// D (rows, cols) = op(A) (rows, k)·op(B) (k, cols), all by columns.
struct Problem {
  cublasLtMatmulDescOpaque_t desc;
  cublasLtMatrixLayoutOpaque_t a, b, c, d;
  Element in, out;
  int64_t rows, cols, k;
  bool bias, gelu, aux;       // forward: a bias is read, aux is written
  bool dgelu, bias_gradient;  // backward: aux is read, a bias gradient of `cols` elements is written
};

// The work itself, on the thread of the stream: cudaErrorLaunchFailure where a GPU would fault, cudaErrorMemoryAllocation and
// cudaErrorLaunchFailure for errors of what computes it.
cudaError_t run_product(const Problem& p, float alpha, float beta, const void* a, const void* b, const void* c, void* d);

}  // namespace star::simt
