// Matrix products by cuBLASLt: descriptors, the heuristic's choice of an algorithm for each shape, and epilogues.
#pragma once

#include <cublasLt.h>

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/ops/matmul.h"
#include "cuda/cuda_backend.h"
#include "cuda/library.h"

namespace star {

struct CublasLtApi {
#define STAR_FUNCTION(name) decltype(::name)* name = Library::cublaslt().function<decltype(::name)>(#name)
  STAR_FUNCTION(cublasLtCreate);
  STAR_FUNCTION(cublasLtDestroy);
  STAR_FUNCTION(cublasLtGetStatusString);
  STAR_FUNCTION(cublasLtMatrixLayoutCreate);
  STAR_FUNCTION(cublasLtMatrixLayoutDestroy);
  STAR_FUNCTION(cublasLtMatrixLayoutSetAttribute);
  STAR_FUNCTION(cublasLtMatmulDescCreate);
  STAR_FUNCTION(cublasLtMatmulDescDestroy);
  STAR_FUNCTION(cublasLtMatmulDescSetAttribute);
  STAR_FUNCTION(cublasLtMatmulPreferenceCreate);
  STAR_FUNCTION(cublasLtMatmulPreferenceDestroy);
  STAR_FUNCTION(cublasLtMatmulPreferenceSetAttribute);
  STAR_FUNCTION(cublasLtMatmulAlgoGetHeuristic);
  STAR_FUNCTION(cublasLtMatmul);
#undef STAR_FUNCTION

  void check(cublasStatus_t status, const char* what) const;
};

// What the library is asked to do beside the product c = op(a)·op(b), c (m, n). It sees cᵀ, so that its rows are our columns:
//   BIAS adds a vector (n) to every row; GELU applies the tanh form; GELU_AUX also keeps what gelu was given, aux (m, n).
//   DGELU multiplies with gelu'(aux). BGRADB writes the sum of op(a) over k, a vector (m).
struct Epilogue {
  cublasLtEpilogue_t code = CUBLASLT_EPILOGUE_DEFAULT;
  void* vector = nullptr;
  void* aux = nullptr;

  // Whether elements of the product change: where the library cannot do that, the sums must not be rounded before.
  bool changes_product() const { return code != CUBLASLT_EPILOGUE_DEFAULT && code != CUBLASLT_EPILOGUE_BGRADB; }
};

class CudaGemm {
 public:
  explicit CudaGemm(CudaBackend& owner);

  // The product with its epilogue; a, b and c of one float type (or a and b i8 and c i32, with
  // trans_b alone and k and n multiples of 4), no dimension 0 or above 2^31 - 1, strides 0 where batch is 1.
  // Where the library does not offer the epilogue for this problem, finish(product) does it, a CRef (batch, m, n) in f32 or,
  // where the epilogue leaves the product alone, c itself.
  template <class Finish>
  void run(const MatmulArgs& args, const Epilogue& epilogue, Finish&& finish) {
    const Choice choice = choose(args, epilogue);
    if (choice.fused) return multiply(args, choice, epilogue, args.c);
    const DType dtype = product_dtype(args, epilogue);
    if (dtype == args.c.dtype) {
      multiply(args, choice, {}, args.c);
      return finish(CRef(args.c));
    }
    const Scratch wide(backend_, static_cast<size_t>(args.batch * args.m * args.n) * sizeof(float));
    multiply(args, choice, {}, {wide.as<void>(), dtype});
    finish(CRef{wide.as<void>(), dtype});
  }

 private:
  template <class Handle>
  using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, cublasStatus_t (*)(Handle)>;

  // The library's view of one product. It stores matrices by columns: our rows are its columns, so it is asked for
  // cᵀ (n, m) = op(b)ᵀ (n, k)·op(a)ᵀ (k, m), which takes b, a and c as they lie in memory.
  struct Call {
    Owned<cublasLtMatmulDesc_t> desc;
    Owned<cublasLtMatrixLayout_t> b, a, c;
  };
  struct Choice {
    cublasLtMatmulAlgo_t algorithm;
    bool fused;  // the library does the epilogue as well
  };
  using Key = std::array<int64_t, 13>;
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };

  static DType product_dtype(const MatmulArgs& args, const Epilogue& epilogue) {
    return epilogue.changes_product() ? DType::F32 : args.c.dtype;
  }
  Owned<cublasLtMatrixLayout_t> layout(DType dtype, int64_t rows, int64_t cols, int64_t batch, int64_t stride) const;
  Call describe(const MatmulArgs& args, DType c_dtype, const Epilogue& epilogue) const;
  bool search(const Call& call, const MatmulArgs& args, uint32_t c_alignment, cublasLtMatmulAlgo_t* algorithm,
              cublasStatus_t* status) const;
  Choice choose(const MatmulArgs& args, const Epilogue& epilogue);
  void multiply(const MatmulArgs& args, const Choice& choice, const Epilogue& epilogue, const Ref& c);

  const CublasLtApi api_;
  CudaBackend& backend_;
  Owned<cublasLtHandle_t> handle_;
  void* workspace_ = nullptr;  // all products run on one stream, one after another: they share it
  size_t workspace_bytes_;
  std::mutex mutex_;  // guards `choices_`
  std::unordered_map<Key, Choice, KeyHash> choices_;
};

}  // namespace star
