#include "core/error.h"
#include "cuda/gemm.h"
#include "cuda/launch.h"

namespace star {

namespace {

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
    case DType::I8: return CUDA_R_8I;
    case DType::I32: return CUDA_R_32I;
    default: return CUDA_R_32F;
  }
}

// Whether cuBLASLt's documented rules allow the epilogue, and every vector of it can be loaded whole (bias vectors at odd
// addresses were seen to fault although the heuristic had taken them). nullptr is a whole vector.
bool may_fuse(const MatmulArgs& args, const Epilogue& epilogue) {
  return epilogue.code != CUBLASLT_EPILOGUE_DEFAULT && alignment(epilogue.vector) >= kVectorBytes &&
         (!epilogue.aux || (args.n % 8 == 0 && alignment(epilogue.aux) >= kVectorBytes));
}

}  // namespace

void CublasLtApi::check(cublasStatus_t status, const char* what) const {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  if (status == CUBLAS_STATUS_ALLOC_FAILED)
    fail(ErrorCode::Memory, "matmul: cuBLAS is out of memory: use a smaller batch or a smaller model");
  fail(ErrorCode::Device, "matmul: cuBLAS failed: %s: %s (CUBLASLT_LOG_LEVEL=5 in the environment shows the call)", what,
       cublasLtGetStatusString(status));
}

size_t CudaGemm::KeyHash::operator()(const Key& key) const {
  uint64_t hash = 0;
  for (int64_t number : key) {
    hash = (hash ^ static_cast<uint64_t>(number)) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
  return hash;
}

CudaGemm::CudaGemm(CudaBackend& owner) : backend_(owner), handle_(nullptr, api_.cublasLtDestroy) {
  cublasLtHandle_t handle = nullptr;
  api_.check(api_.cublasLtCreate(&handle), "creating a handle");
  handle_.reset(handle);
  // The sizes that NVIDIA recommends (cuBLAS documentation, cublasSetWorkspace).
  workspace_bytes_ = owner.properties().major >= 9 ? size_t{32} << 20 : size_t{4} << 20;
  check_cuda(cudaMallocAsync(&workspace_, workspace_bytes_, owner.stream()), "matmul");
  const cudaError_t cleared =
      cudaMemsetAsync(workspace_, 0, workspace_bytes_, owner.stream());  // the same start in every process
  if (cleared != cudaSuccess) cudaFreeAsync(workspace_, owner.stream());
  check_cuda(cleared, "matmul");
}

CudaGemm::Owned<cublasLtMatrixLayout_t> CudaGemm::layout(DType dtype, int64_t rows, int64_t cols, int64_t batch,
                                                         int64_t stride) const {
  cublasLtMatrixLayout_t made = nullptr;
  api_.check(
      api_.cublasLtMatrixLayoutCreate(&made, cuda_type(dtype), static_cast<uint64_t>(rows), static_cast<uint64_t>(cols), rows),
      "describing a matrix");
  Owned<cublasLtMatrixLayout_t> owned(made, api_.cublasLtMatrixLayoutDestroy);
  if (batch > 1) {
    const auto count = static_cast<int32_t>(batch);
    api_.check(api_.cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
               "describing a batch");
    api_.check(api_.cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride),
               "describing a batch");
  }
  return owned;
}

CudaGemm::Call CudaGemm::describe(const MatmulArgs& args, DType c_dtype, const Epilogue& epilogue) const {
  cublasLtMatmulDesc_t desc = nullptr;
  // f32 accumulation, and f32 operands as they are: CUBLAS_COMPUTE_32F does not round them to TF32. Bytes are added up in i32.
  const bool bytes = args.a.dtype == DType::I8;
  api_.check(
      api_.cublasLtMatmulDescCreate(&desc, bytes ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F, bytes ? CUDA_R_32I : CUDA_R_32F),
      "describing a product");
  Call call{{desc, api_.cublasLtMatmulDescDestroy},
            layout(args.b.dtype, args.trans_b ? args.k : args.n, args.trans_b ? args.n : args.k, args.batch, args.b_stride),
            layout(args.a.dtype, args.trans_a ? args.m : args.k, args.trans_a ? args.k : args.m, args.batch, args.a_stride),
            layout(c_dtype, args.n, args.m, args.batch, args.m * args.n)};
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, auto value) {
    api_.check(api_.cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value), "setting an attribute");
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, int32_t{args.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N});
  set(CUBLASLT_MATMUL_DESC_TRANSB, int32_t{args.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N});
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<uint32_t>(epilogue.code));
  if (epilogue.vector) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, epilogue.vector);
  if (epilogue.aux) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, epilogue.aux);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, args.n);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, args.m * args.n);
  }
  return call;
}

// The first algorithm of the library's heuristic, or false with its status.
bool CudaGemm::search(const Call& call, const MatmulArgs& args, uint32_t c_alignment, cublasLtMatmulAlgo_t* algorithm,
                      cublasStatus_t* status) const {
  cublasLtMatmulPreference_t made = nullptr;
  api_.check(api_.cublasLtMatmulPreferenceCreate(&made), "describing preferences");
  const Owned<cublasLtMatmulPreference_t> preference(made, api_.cublasLtMatmulPreferenceDestroy);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    api_.check(api_.cublasLtMatmulPreferenceSetAttribute(made, attribute, &value, sizeof value), "setting a preference");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{workspace_bytes_});
  // The pieces of a sum that was cut may not meet in f16: the other schemes add them up in the type of c.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(args.b.data));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(args.a.data));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c_alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c_alignment);
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  *status = api_.cublasLtMatmulAlgoGetHeuristic(handle_.get(), call.desc.get(), call.b.get(), call.a.get(), call.c.get(),
                                                call.c.get(), made, 1, &result, &found);
  if (*status == CUBLAS_STATUS_SUCCESS) *status = found > 0 ? result.state : CUBLAS_STATUS_NOT_SUPPORTED;
  *algorithm = result.algo;
  return *status == CUBLAS_STATUS_SUCCESS;
}

CudaGemm::Choice CudaGemm::choose(const MatmulArgs& args, const Epilogue& epilogue) {
  const Key key{static_cast<int64_t>(args.c.dtype),
                args.batch,
                args.m,
                args.n,
                args.k,
                args.a_stride,
                args.b_stride,
                args.trans_a | args.trans_b << 1 | args.accumulate << 2 | epilogue.code << 3,
                alignment(args.a.data),
                alignment(args.b.data),
                alignment(args.c.data),
                alignment(epilogue.vector),
                alignment(epilogue.aux)};
  const std::lock_guard lock(mutex_);
  if (const auto it = choices_.find(key); it != choices_.end()) return it->second;
  Choice choice{};
  cublasStatus_t status;
  choice.fused = may_fuse(args, epilogue) &&
                 search(describe(args, args.c.dtype, epilogue), args, alignment(args.c.data), &choice.algorithm, &status);
  if (!choice.fused) {
    const DType dtype = product_dtype(args, epilogue);
    const uint32_t c_alignment = dtype != args.c.dtype ? kFullAlignment : alignment(args.c.data);
    if (!search(describe(args, dtype, {}), args, c_alignment, &choice.algorithm, &status))
      fail(ErrorCode::Device, "matmul: cuBLAS has no algorithm for %lld products (%lld, %lld)·(%lld, %lld) in %s: %s",
           static_cast<long long>(args.batch), static_cast<long long>(args.m), static_cast<long long>(args.k),
           static_cast<long long>(args.k), static_cast<long long>(args.n), dtype_name(args.c.dtype),
           api_.cublasLtGetStatusString(status));
  }
  constexpr size_t kMost = 16384;  // a server that meets ever new shapes starts over now and then
  if (choices_.size() >= kMost) choices_.clear();
  choices_.emplace(key, choice);
  return choice;
}

void CudaGemm::multiply(const MatmulArgs& args, const Choice& choice, const Epilogue& epilogue, const Ref& c) {
  const Call call = describe(args, c.dtype, epilogue);
  const float one = 1.0f, zero = 0.0f;
  const int32_t whole_one = 1, whole_zero = 0;
  const bool bytes = args.a.dtype == DType::I8;
  const void* alpha = bytes ? static_cast<const void*>(&whole_one) : &one;
  const void* nothing = bytes ? static_cast<const void*>(&whole_zero) : &zero;
  const void* beta = args.accumulate ? alpha : nothing;
  api_.check(api_.cublasLtMatmul(handle_.get(), call.desc.get(), alpha, args.b.data, call.b.get(), args.a.data, call.a.get(),
                                 beta, c.data, call.c.get(), c.data, call.c.get(), &choice.algorithm, workspace_,
                                 workspace_bytes_, backend_.stream()),
             "the product");
}

}  // namespace star
