// Matrix products by cuBLASLt, with bias and gelu in the product's epilogue where the library offers that, and in a pass of our
// own over the product where it does not.
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/error.h"
#include "cuda/bias_gelu.h"
#include "cuda/cuda_backend.h"
#include "cuda/dispatch.h"
#include "cuda/launch.h"
#include "cuda/library.h"

namespace star {

namespace {

struct Api {
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

  void check(cublasStatus_t status, const char* what) const {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    if (status == CUBLAS_STATUS_ALLOC_FAILED)
      fail(ErrorCode::Memory, "matmul: cuBLAS is out of memory: use a smaller batch or a smaller model");
    fail(ErrorCode::Device, "matmul: cuBLAS failed: %s: %s (CUBLASLT_LOG_LEVEL=5 in the environment shows the call)", what,
         cublasLtGetStatusString(status));
  }
};

template <class Handle>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, cublasStatus_t (*)(Handle)>;

constexpr uint32_t kFullAlignment = 256;
constexpr uint32_t kVectorBytes = 16;

// The largest power of two, up to 256, that divides an address.
uint32_t alignment(const void* address) {
  const uintptr_t bits = reinterpret_cast<uintptr_t>(address) | kFullAlignment;
  return static_cast<uint32_t>(bits & -bits);
}

cudaDataType_t cuda_type(DType dtype) {
  switch (dtype) {
    case DType::F16: return CUDA_R_16F;
    case DType::BF16: return CUDA_R_16BF;
    default: return CUDA_R_32F;
  }
}

using Key = std::array<int64_t, 13>;
struct KeyHash {
  size_t operator()(const Key& key) const {
    uint64_t hash = 0;
    for (int64_t number : key) {
      hash = (hash ^ static_cast<uint64_t>(number)) * 0x9E3779B97F4A7C15u;
      hash ^= hash >> 29;
    }
    return hash;
  }
};

// What is done with the product before it is stored.
struct Epilogue {
  bool bias = false, gelu = false, aux = false;
  bool any() const { return bias || gelu; }
  cublasLtEpilogue_t code() const {
    if (aux) return bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
    if (gelu) return bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    return bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  }
};

struct Choice {
  cublasLtMatmulAlgo_t algorithm;
  bool fused;  // the library does the epilogue as well
};

}  // namespace

struct CudaGemm {
  const Api api;
  CudaBackend& backend;
  cublasLtHandle_t handle = nullptr;  // like the backend, never given back
  void* workspace = nullptr;          // all products run on one stream, one after another: they share it
  size_t workspace_bytes;
  std::mutex mutex;  // guards `choices`
  std::unordered_map<Key, Choice, KeyHash> choices;

  explicit CudaGemm(CudaBackend& owner) : backend(owner) {
    // The sizes that NVIDIA recommends (cuBLAS documentation, cublasSetWorkspace).
    workspace_bytes = owner.properties().major >= 9 ? size_t{32} << 20 : size_t{4} << 20;
    check_cuda(cudaMallocAsync(&workspace, workspace_bytes, owner.stream()), "matmul");
    check_cuda(cudaMemsetAsync(workspace, 0, workspace_bytes, owner.stream()), "matmul");  // the same start in every process
    api.check(api.cublasLtCreate(&handle), "creating a handle");
  }

  // The library's view of one product. It stores matrices by columns: our rows are its columns, so it is asked for
  // cᵀ (n, m) = op(b)ᵀ (n, k)·op(a)ᵀ (k, m), which takes b, a and c as they lie in memory.
  struct Call {
    Owned<cublasLtMatmulDesc_t> desc;
    Owned<cublasLtMatrixLayout_t> b, a, c;
  };

  template <class T>
  void set(const Call& call, cublasLtMatmulDescAttributes_t attribute, T value) const {
    api.check(api.cublasLtMatmulDescSetAttribute(call.desc.get(), attribute, &value, sizeof value), "setting an attribute");
  }

  Owned<cublasLtMatrixLayout_t> layout(DType dtype, int64_t rows, int64_t cols, int64_t batch, int64_t stride) const {
    cublasLtMatrixLayout_t made = nullptr;
    api.check(
        api.cublasLtMatrixLayoutCreate(&made, cuda_type(dtype), static_cast<uint64_t>(rows), static_cast<uint64_t>(cols), rows),
        "describing a matrix");
    Owned<cublasLtMatrixLayout_t> owned(made, api.cublasLtMatrixLayoutDestroy);
    if (batch > 1) {
      const auto count = static_cast<int32_t>(batch);
      api.check(api.cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
                "describing a batch");
      api.check(api.cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride),
                "describing a batch");
    }
    return owned;
  }

  Call describe(const MatmulArgs& args, DType c_dtype, const Epilogue& epilogue) const {
    cublasLtMatmulDesc_t desc = nullptr;
    // f32 accumulation, and f32 operands as they are: CUBLAS_COMPUTE_32F does not round them to TF32.
    api.check(api.cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product");
    Call call{{desc, api.cublasLtMatmulDescDestroy},
              layout(args.b.dtype, args.trans_b ? args.k : args.n, args.trans_b ? args.n : args.k, args.batch, args.b_stride),
              layout(args.a.dtype, args.trans_a ? args.m : args.k, args.trans_a ? args.k : args.m, args.batch, args.a_stride),
              layout(c_dtype, args.n, args.m, args.batch, args.m * args.n)};
    set<int32_t>(call, CUBLASLT_MATMUL_DESC_TRANSA, args.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set<int32_t>(call, CUBLASLT_MATMUL_DESC_TRANSB, args.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set<uint32_t>(call, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue.code());
    if (epilogue.bias) set<const void*>(call, CUBLASLT_MATMUL_DESC_BIAS_POINTER, args.bias.data);
    if (epilogue.aux) {
      set<void*>(call, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, args.pre_activation.data);
      set<int64_t>(call, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, args.n);
      set<int64_t>(call, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, args.m * args.n);
    }
    return call;
  }

  // The first algorithm of the library's heuristic, or false with its status.
  bool search(const Call& call, const MatmulArgs& args, uint32_t c_alignment, cublasLtMatmulAlgo_t* algorithm,
              cublasStatus_t* status) const {
    cublasLtMatmulPreference_t made = nullptr;
    api.check(api.cublasLtMatmulPreferenceCreate(&made), "describing preferences");
    const Owned<cublasLtMatmulPreference_t> preference(made, api.cublasLtMatmulPreferenceDestroy);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      api.check(api.cublasLtMatmulPreferenceSetAttribute(made, attribute, &value, sizeof value), "setting a preference");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{workspace_bytes});
    // The pieces of a sum that was cut may not meet in f16: the other schemes add them up in the type of c.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(args.b.data));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(args.a.data));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c_alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c_alignment);
    cublasLtMatmulHeuristicResult_t result{};
    int found = 0;
    *status = api.cublasLtMatmulAlgoGetHeuristic(handle, call.desc.get(), call.b.get(), call.a.get(), call.c.get(), call.c.get(),
                                                 made, 1, &result, &found);
    if (*status == CUBLAS_STATUS_SUCCESS) *status = found > 0 ? result.state : CUBLAS_STATUS_NOT_SUPPORTED;
    *algorithm = result.algo;
    return *status == CUBLAS_STATUS_SUCCESS;
  }

  // Whether cuBLASLt's documented rules allow the epilogue, and every vector of it can be loaded whole (bias vectors at odd
  // addresses were seen to fault although the heuristic had taken them).
  static bool may_fuse(const MatmulArgs& args, const Epilogue& epilogue) {
    return epilogue.any() && (!epilogue.bias || alignment(args.bias.data) >= kVectorBytes) &&
           (!epilogue.aux || (args.n % 8 == 0 && alignment(args.pre_activation.data) >= kVectorBytes));
  }

  // Where the epilogue is ours, 16-bit results pass through f32: bias and gelu then see the sum before it is rounded, as in
  // the library's epilogue.
  static DType product_dtype(const MatmulArgs& args, const Epilogue& epilogue, bool fused) {
    return fused || !epilogue.any() ? args.c.dtype : DType::F32;
  }
  static bool needs_scratch(const MatmulArgs& args, const Epilogue& epilogue, bool fused) {
    return product_dtype(args, epilogue, fused) != args.c.dtype;
  }

  Choice choose(const MatmulArgs& args, const Epilogue& epilogue) {
    const Key key{static_cast<int64_t>(args.c.dtype),
                  args.batch,
                  args.m,
                  args.n,
                  args.k,
                  args.a_stride,
                  args.b_stride,
                  args.trans_a | args.trans_b << 1 | args.accumulate << 2 | epilogue.code() << 3,
                  alignment(args.a.data),
                  alignment(args.b.data),
                  alignment(args.c.data),
                  epilogue.bias ? alignment(args.bias.data) : 0,
                  epilogue.aux ? alignment(args.pre_activation.data) : 0};
    const std::lock_guard lock(mutex);
    if (const auto it = choices.find(key); it != choices.end()) return it->second;
    Choice choice{};
    cublasStatus_t status;
    choice.fused = may_fuse(args, epilogue) &&
                   search(describe(args, args.c.dtype, epilogue), args, alignment(args.c.data), &choice.algorithm, &status);
    if (!choice.fused) {
      const DType dtype = product_dtype(args, epilogue, false);
      const uint32_t c_alignment = needs_scratch(args, epilogue, false) ? kFullAlignment : alignment(args.c.data);
      if (!search(describe(args, dtype, {}), args, c_alignment, &choice.algorithm, &status))
        fail(ErrorCode::Device, "matmul: cuBLAS has no algorithm for %lld products (%lld, %lld)·(%lld, %lld) in %s: %s",
             static_cast<long long>(args.batch), static_cast<long long>(args.m), static_cast<long long>(args.k),
             static_cast<long long>(args.k), static_cast<long long>(args.n), dtype_name(args.c.dtype),
             api.cublasLtGetStatusString(status));
    }
    constexpr size_t kMost = 16384;  // a server that meets ever new shapes starts over now and then
    if (choices.size() >= kMost) choices.clear();
    choices.emplace(key, choice);
    return choice;
  }

  void run(const MatmulArgs& args, const Epilogue& epilogue) {
    const Choice choice = choose(args, epilogue);
    const DType dtype = product_dtype(args, epilogue, choice.fused);
    const int64_t rows = args.batch * args.m;
    std::unique_ptr<Scratch> wide;
    if (needs_scratch(args, epilogue, choice.fused))
      wide = std::make_unique<Scratch>(backend, static_cast<size_t>(rows * args.n) * sizeof(float));
    void* c = wide ? wide->as<void>() : args.c.data;
    const Call call = describe(args, dtype, choice.fused ? epilogue : Epilogue{});
    const float alpha = 1.0f, beta = args.accumulate ? 1.0f : 0.0f;
    api.check(api.cublasLtMatmul(handle, call.desc.get(), &alpha, args.b.data, call.b.get(), args.a.data, call.a.get(), &beta, c,
                                 call.c.get(), c, call.c.get(), &choice.algorithm, workspace, workspace_bytes, backend.stream()),
              "the product");
    if (epilogue.any() && !choice.fused)
      bias_gelu(backend, "matmul",
                {args.c, epilogue.aux ? args.pre_activation : Ref{}, {c, dtype}, args.bias, rows, args.n, epilogue.gelu});
  }
};

void CudaBackend::matmul(const MatmulArgs& given) {
  MatmulArgs args = given;
  const bool gelu = args.activation == Activation::Gelu;
  if (args.accumulate && (args.bias || gelu || args.pre_activation))
    fail(ErrorCode::Argument, "matmul: accumulate was given with a bias or an activation, expected a plain product");
  dispatch_float(args.c.dtype, "matmul", [&](auto tag) {
    using T = decltype(tag);
    as<T>(args.a, "matmul"), as<T>(args.b, "matmul"), as<T>(args.bias, "matmul"), as<T>(args.pre_activation, "matmul");
  });
  if (args.batch == 0 || args.m == 0 || args.n == 0) return;
  for (const int64_t size : {args.batch, args.m, args.n, args.k})
    if (size > INT32_MAX)
      fail(ErrorCode::Shape, "matmul: a dimension is %lld, expected less than 2^31", static_cast<long long>(size));
  const size_t bytes = static_cast<size_t>(args.batch * args.m * args.n) * dtype_size(args.c.dtype);
  const Epilogue epilogue{bool(args.bias), gelu, gelu && args.pre_activation};
  if (args.k == 0) {  // an empty sum
    if (args.accumulate) return;
    check_cuda(cudaMemsetAsync(args.c.data, 0, bytes, stream()), "matmul");
    if (epilogue.any())
      bias_gelu(*this, "matmul",
                {args.c, epilogue.aux ? args.pre_activation : Ref{}, args.c, args.bias, args.batch * args.m, args.n, gelu});
  } else {
    if (args.b_stride == 0 && !args.trans_a && args.a_stride == args.m * args.k && args.batch * args.m <= INT32_MAX) {
      args.m *= args.batch;  // one taller product
      args.batch = 1;
    }
    if (args.batch == 1) args.a_stride = args.b_stride = 0;
    if (!gemm_) gemm_ = std::make_shared<CudaGemm>(*this);
    gemm_->run(args, epilogue);
  }
  if (args.pre_activation && !epilogue.aux) copy(args.pre_activation.data, args.c.data, bytes);
}

}  // namespace star
