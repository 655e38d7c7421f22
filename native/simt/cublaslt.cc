// cuBLASLt for the simt build: answers by products of its own (cublaslt_product.cc), and refuses what the library refuses, so
// that the wrapper's attributes, alignments, workspace and algorithm cache are checked and not only its results. Stricter than
// the library in one point: an algorithm serves the very problem that it was asked for.
#include <cstdlib>
#include <cstring>
#include <new>

#include "simt/audit.h"
#include "simt/cublaslt_product.h"
#include "simt/memory.h"
#include "simt/stream.h"

using star::simt::Element;
using star::simt::Problem;

struct cublasLtContext {};

struct cublasLtMatmulPreferenceOpaque_t {
  uint64_t workspace = 0;
  uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
  uint32_t align_a = 256, align_b = 256, align_c = 256, align_d = 256;
};

namespace {

constexpr uint64_t kMagic = 0x73696d742d6c7431;  // an algorithm that the heuristic made
constexpr uint64_t kWorkspaceAlignment = 256;

// What fits into cublasLtMatmulAlgo_t.
struct Algorithm {
  uint64_t magic, problem, workspace;
  uint32_t align_a, align_b, align_c, align_d, align_bias, align_aux;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

template <class T>
cublasStatus_t set(T& field, const void* value, size_t bytes) {
  if (!value || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&field, value, sizeof(T));
  return CUBLAS_STATUS_SUCCESS;
}

bool element_of(uint32_t type, Element& element) {
  switch (type) {
    case CUDA_R_32F: element = Element::F32; return true;
    case CUDA_R_16F: element = Element::F16; return true;
    case CUDA_R_16BF: element = Element::BF16; return true;
    case CUDA_R_8I: element = Element::I8; return true;
    case CUDA_R_32I: element = Element::I32; return true;
    default: return false;
  }
}

// The larger power of two, up to 256, that divides an address.
uint32_t alignment(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address) | 256;
  return static_cast<uint32_t>(bits & -bits);
}

bool valid(const cublasLtMatrixLayoutOpaque_t& layout) {
  return layout.rows > 0 && layout.cols > 0 && layout.ld >= static_cast<int64_t>(layout.rows) && layout.batch > 0;
}

// What cuBLAS documents of products of bytes in the regular order of elements: sums in i32, op(A) transposed and op(B) not,
// leading dimensions, rows of D and the inner dimension multiples of 4, no epilogue.
bool takes_bytes(const cublasLtMatmulDescOpaque_t& desc, const cublasLtMatrixLayoutOpaque_t& a,
                 const cublasLtMatrixLayoutOpaque_t& b, const cublasLtMatrixLayoutOpaque_t& d, Element out) {
  return desc.compute == CUBLAS_COMPUTE_32I && desc.scale == CUDA_R_32I && out == Element::I32 && desc.trans_a == CUBLAS_OP_T &&
         desc.trans_b == CUBLAS_OP_N && a.ld % 4 == 0 && b.ld % 4 == 0 && d.ld % 4 == 0 && d.rows % 4 == 0 && a.rows % 4 == 0 &&
         a.batch == 1 && desc.epilogue == CUBLASLT_EPILOGUE_DEFAULT;
}

cublasStatus_t describe(const cublasLtMatmulDescOpaque_t* desc, const cublasLtMatrixLayoutOpaque_t* a,
                        const cublasLtMatrixLayoutOpaque_t* b, const cublasLtMatrixLayoutOpaque_t* c,
                        const cublasLtMatrixLayoutOpaque_t* d, Problem& problem) {
  if (!desc || !a || !b || !c || !d || !valid(*a) || !valid(*b) || !valid(*c) || !valid(*d)) return CUBLAS_STATUS_INVALID_VALUE;
  Problem p{*desc, *a, *b, *c, *d, {}, {}, 0, 0, 0, false, false, false, false, false};
  Element b_type, c_type;
  if (!element_of(a->type, p.in) || !element_of(b->type, b_type) || !element_of(c->type, c_type) || !element_of(d->type, p.out))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  if (b_type != p.in || c_type != p.out) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (p.in == Element::I8 ? !takes_bytes(*desc, *a, *b, *d, p.out)
                          : desc->compute != CUBLAS_COMPUTE_32F || desc->scale != CUDA_R_32F || p.in == Element::I32 ||
                                (p.out != p.in && p.out != Element::F32))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  const bool ta = desc->trans_a == CUBLAS_OP_T, tb = desc->trans_b == CUBLAS_OP_T;
  p.rows = static_cast<int64_t>(ta ? a->cols : a->rows);
  p.k = static_cast<int64_t>(ta ? a->rows : a->cols);
  p.cols = static_cast<int64_t>(tb ? b->rows : b->cols);
  const auto matches = [&](const cublasLtMatrixLayoutOpaque_t& m) {
    // Matrices written by one call must not overlap.
    return static_cast<int64_t>(m.rows) == p.rows && static_cast<int64_t>(m.cols) == p.cols && m.batch == a->batch &&
           (m.batch == 1 || m.batch_stride >= m.ld * p.cols);
  };
  if (static_cast<int64_t>(tb ? b->cols : b->rows) != p.k || b->batch != a->batch || !matches(*c) || !matches(*d))
    return CUBLAS_STATUS_INVALID_VALUE;
  switch (desc->epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT: break;
    case CUBLASLT_EPILOGUE_BIAS: p.bias = true; break;
    case CUBLASLT_EPILOGUE_GELU: p.gelu = true; break;
    case CUBLASLT_EPILOGUE_GELU_BIAS: p.gelu = p.bias = true; break;
    case CUBLASLT_EPILOGUE_GELU_AUX: p.gelu = p.aux = true; break;
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS: p.gelu = p.aux = p.bias = true; break;
    case CUBLASLT_EPILOGUE_DGELU: p.dgelu = true; break;
    case CUBLASLT_EPILOGUE_BGRADB: p.bias_gradient = true; break;
    default: return CUBLAS_STATUS_INVALID_VALUE;
  }
  if ((p.bias || p.bias_gradient) && !desc->bias) return CUBLAS_STATUS_INVALID_VALUE;
  if (p.bias_gradient && d->batch > 1) return CUBLAS_STATUS_NOT_SUPPORTED;
  if ((p.aux || p.dgelu) && (!desc->aux || desc->aux_ld < p.rows || desc->aux_ld % 8 != 0 || desc->aux_stride % 8 != 0 ||
                             (d->batch > 1 && desc->aux_stride < desc->aux_ld * p.cols)))
    return CUBLAS_STATUS_INVALID_VALUE;
  // Epilogues come with the kernels that store 16 bytes at a time.
  if (desc->epilogue != CUBLASLT_EPILOGUE_DEFAULT && static_cast<size_t>(d->ld) * star::simt::element_size(p.out) % 16 != 0)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  problem = p;
  return CUBLAS_STATUS_SUCCESS;
}

uint64_t fingerprint(const Problem& p) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a over whole words
  const auto mix = [&](uint64_t word) { hash = (hash ^ word) * 0x100000001b3; };
  for (const auto& m : {p.a, p.b, p.c, p.d})
    for (const uint64_t word : {uint64_t{m.type}, m.rows, m.cols, static_cast<uint64_t>(m.ld), static_cast<uint64_t>(m.batch),
                                static_cast<uint64_t>(m.batch_stride)})
      mix(word);
  mix(static_cast<uint64_t>(p.desc.trans_a));
  mix(static_cast<uint64_t>(p.desc.trans_b));
  mix(p.desc.epilogue);
  mix(static_cast<uint64_t>(p.desc.aux_ld));
  mix(static_cast<uint64_t>(p.desc.aux_stride));
  return hash;
}

// STAR_SIMT_CUBLAS=capture: products cannot be recorded, as with algorithms that wait for the device.
bool refuses_capture() {
  const char* asked = std::getenv("STAR_SIMT_CUBLAS");
  return asked && std::strcmp(asked, "capture") == 0;
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (!handle) return CUBLAS_STATUS_INVALID_VALUE;
  *handle = new (std::nothrow) cublasLtContext;
  return *handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED: return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE: return "an invalid value was provided";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "the execution failed";
    case CUBLAS_STATUS_INTERNAL_ERROR: return "an internal operation failed";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "the functionality is not supported";
  }
  return "unknown status";
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows, uint64_t cols,
                                          int64_t ld) {
  if (!layout) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = new (std::nothrow) cublasLtMatrixLayoutOpaque_t{static_cast<uint32_t>(type), rows, cols, ld};
  return *layout ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute,
                                                const void* value, size_t bytes) {
  if (!layout) return CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE: return set(layout->type, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS: return set(layout->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS: return set(layout->cols, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD: return set(layout->ld, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return set(layout->batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return set(layout->batch_stride, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute, cudaDataType_t scale) {
  if (!desc) return CUBLAS_STATUS_INVALID_VALUE;
  *desc = new (std::nothrow) cublasLtMatmulDescOpaque_t{compute, scale};
  return *desc ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  delete desc;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  if (!desc) return CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return set(desc->trans_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return set(desc->trans_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(desc->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(desc->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: return set(desc->aux, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: return set(desc->aux_ld, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE: return set(desc->aux_stride, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  if (!preference) return CUBLAS_STATUS_INVALID_VALUE;
  *preference = new (std::nothrow) cublasLtMatmulPreferenceOpaque_t;
  return *preference ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  if (!preference) return CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return set(preference->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return set(preference->reductions, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return set(preference->align_a, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return set(preference->align_b, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return set(preference->align_c, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return set(preference->align_d, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int* found) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!preference || wanted <= 0 || !results || !found) return CUBLAS_STATUS_INVALID_VALUE;
  *found = 0;
  Problem p;
  const cublasStatus_t status = describe(desc, a, b, c, d, p);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  // Long sums of small products are cut into pieces that meet in the workspace, where that may be had.
  const uint64_t pieces = static_cast<uint64_t>(p.d.batch * p.rows * p.cols) * 4 * 2;
  const bool split = p.k >= 64 && p.k >= 2 * p.rows && p.k >= 2 * p.cols && pieces <= preference->workspace &&
                     (preference->reductions & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) != 0;
  const Algorithm algorithm{kMagic,
                            fingerprint(p),
                            split ? pieces : 0,
                            preference->align_a,
                            preference->align_b,
                            preference->align_c,
                            preference->align_d,
                            alignment(p.desc.bias),
                            alignment(p.desc.aux)};
  results[0] = {};
  std::memcpy(&results[0].algo, &algorithm, sizeof algorithm);
  results[0].workspaceSize = algorithm.workspace;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  results[0].wavesCount = 1.0f;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha, const void* a_data,
                              cublasLtMatrixLayout_t a, const void* b_data, cublasLtMatrixLayout_t b, const void* beta,
                              const void* c_data, cublasLtMatrixLayout_t c, void* d_data, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t* algo, void* workspace, size_t workspace_bytes, cudaStream_t stream) {
  using star::simt::aligned;
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!alpha || !beta || !a_data || !b_data || !c_data || !d_data || !algo) return CUBLAS_STATUS_INVALID_VALUE;
  Problem p;
  const cublasStatus_t status = describe(desc, a, b, c, d, p);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  Algorithm chosen;
  std::memcpy(&chosen, algo, sizeof chosen);
  if (chosen.magic != kMagic || chosen.problem != fingerprint(p)) return CUBLAS_STATUS_INVALID_VALUE;
  if (!aligned(a_data, chosen.align_a) || !aligned(b_data, chosen.align_b) || !aligned(c_data, chosen.align_c) ||
      !aligned(d_data, chosen.align_d) || !aligned(p.desc.bias, chosen.align_bias) || !aligned(p.desc.aux, chosen.align_aux))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (chosen.workspace > 0 && (!workspace || workspace_bytes < chosen.workspace || !aligned(workspace, kWorkspaceAlignment)))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (stream && stream->capturing && refuses_capture()) {
    star::simt::invalidate_capture(stream);
    return CUBLAS_STATUS_EXECUTION_FAILED;
  }
  const auto number = [&](const void* at) {
    return p.in == Element::I8 ? static_cast<float>(*static_cast<const int32_t*>(at)) : *static_cast<const float*>(at);
  };
  const float scale = number(alpha), keep = number(beta);
  ++star::simt::counts().library_calls;
  const cudaError_t done = star::simt::submit(stream, [=] {
    if (chosen.workspace > 0) {
      if (!star::simt::DeviceMemory::instance().contains(workspace, chosen.workspace)) return cudaErrorLaunchFailure;
      if (!star::simt::audit_enabled()) std::memset(workspace, 0xa5, chosen.workspace);  // whatever lay there is gone
    }
    return star::simt::run_product(p, scale, keep, a_data, b_data, c_data, d_data);
  });
  switch (done) {
    case cudaSuccess: return CUBLAS_STATUS_SUCCESS;
    case cudaErrorMemoryAllocation: return CUBLAS_STATUS_ALLOC_FAILED;
    default: return CUBLAS_STATUS_EXECUTION_FAILED;
  }
}
}
