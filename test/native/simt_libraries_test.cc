// The stand-ins of cuBLASLt and cuDNN in the simt build: they must refuse what the libraries refuse, or tests of the wrappers
// would show nothing.
#include <cublasLt.h>
#include <cudnn.h>

#include <functional>

#include "simt_support.h"

namespace star::test {
namespace {

// d (rows, cols) = a (rows, k)·b (k, cols) by columns in f16, as the library's documentation asks for it. A test spoils one
// thing of it.
struct Product {
  static constexpr int64_t kRows = 16, kCols = 6, kInner = 128;
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  cublasLtMatmulHeuristicResult_t result{};
  Buffer<__half> a_data{std::vector<__half>(kRows * kInner, __float2half_rn(0.5f))};
  Buffer<__half> b_data{std::vector<__half>(kInner * kCols, __float2half_rn(0.25f))};
  Buffer<__half> d_data{kRows * kCols}, aux_data{kRows * kCols}, bias{std::vector<__half>(kRows, __float2half_rn(1.0f))};
  Buffer<char> workspace{1 << 20};
  void* a_address = a_data.data;
  void* d_address = d_data.data;
  size_t workspace_bytes = 1 << 20;
  int found = 0;

  Product() {
    cublasLtCreate(&handle);
    cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatrixLayoutCreate(&a, CUDA_R_16F, kRows, kInner, kRows);
    cublasLtMatrixLayoutCreate(&b, CUDA_R_16F, kInner, kCols, kInner);
    cublasLtMatrixLayoutCreate(&d, CUDA_R_16F, kRows, kCols, kRows);
    cublasLtMatmulPreferenceCreate(&preference);
    prefer<uint64_t>(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
    for (const auto attribute : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                                 CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      prefer<uint32_t>(attribute, 16);
    set<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_GELU_AUX_BIAS);
    set<const void*>(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.data);
    set<void*>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux_data.data);
    set<int64_t>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, kRows);
  }
  ~Product() {
    cublasLtMatmulPreferenceDestroy(preference);
    for (const auto layout : {a, b, d}) cublasLtMatrixLayoutDestroy(layout);
    cublasLtMatmulDescDestroy(desc);
    cublasLtDestroy(handle);
  }
  template <class T>
  cublasStatus_t set(cublasLtMatmulDescAttributes_t attribute, T value) {
    return cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value);
  }
  template <class T>
  cublasStatus_t prefer(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    return cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value);
  }
  template <class T>
  void set(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, T value) {
    cublasLtMatrixLayoutSetAttribute(layout, attribute, &value, sizeof value);
  }
  cublasStatus_t search() { return cublasLtMatmulAlgoGetHeuristic(handle, desc, a, b, d, d, preference, 1, &result, &found); }
  cublasStatus_t run() {
    const float alpha = 1.0f, beta = 0.0f;
    return cublasLtMatmul(handle, desc, &alpha, a_address, a, b_data.data, b, &beta, d_address, d, d_address, d, &result.algo,
                          workspace.data, workspace_bytes, nullptr);
  }
};

TEST(SimtCublasLt, TheProductAsDocumented) {
  Product p;
  ASSERT_EQ(p.search(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(p.found, 1);
  EXPECT_GT(p.result.workspaceSize, 0u) << "the sum is long: a test of the workspace needs one";
  ASSERT_EQ(p.run(), CUBLAS_STATUS_SUCCESS);
  for (const __half sum : p.aux_data.values()) EXPECT_EQ(__half2float(sum), 128 * 0.125f + 1.0f);
  for (const __half y : p.d_data.values()) EXPECT_EQ(__half2float(y), 17.0f);  // gelu(17) = 17
}

TEST(SimtCublasLt, GradientsAsDocumented) {
  Product p;
  p.set<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DGELU);
  const Buffer<__half> zeros{std::vector<__half>(Product::kRows * Product::kCols, __float2half_rn(0.0f))};
  p.set<void*>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, zeros.data);
  ASSERT_EQ(p.search(), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(p.run(), CUBLAS_STATUS_SUCCESS);
  for (const __half y : p.d_data.values()) EXPECT_EQ(__half2float(y), 128 * 0.125f * 0.5f);  // gelu'(0) = 1/2
  p.set<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BGRADB);
  ASSERT_EQ(p.search(), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(p.run(), CUBLAS_STATUS_SUCCESS);
  for (const __half y : p.d_data.values()) EXPECT_EQ(__half2float(y), 128 * 0.125f);
  const auto sums = p.bias.values();  // a column of b each; the rest stays as it was
  for (size_t i = 0; i < sums.size(); ++i) EXPECT_EQ(__half2float(sums[i]), i < Product::kCols ? 128 * 0.25f : 1.0f);
}

TEST(SimtCublasLt, TheHeuristicRefuses) {
  const auto expect = [](cublasStatus_t status, const char* what, const std::function<void(Product&)>& spoil) {
    Product p;
    spoil(p);
    EXPECT_EQ(p.search(), status) << what;
    EXPECT_EQ(p.found, 0) << what;
  };
  const cublasStatus_t invalid = CUBLAS_STATUS_INVALID_VALUE, unsupported = CUBLAS_STATUS_NOT_SUPPORTED;
  expect(invalid, "no leading dimension of aux", [](Product& p) { p.set<int64_t>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, 0); });
  expect(invalid, "aux ld no multiple of 8", [](Product& p) { p.set<int64_t>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, 17); });
  expect(invalid, "aux ld too small", [](Product& p) { p.set<int64_t>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, 8); });
  expect(invalid, "no aux", [](Product& p) { p.set<void*>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, nullptr); });
  expect(invalid, "no bias", [](Product& p) { p.set<void*>(CUBLASLT_MATMUL_DESC_BIAS_POINTER, nullptr); });
  expect(invalid, "no input of gelu", [](Product& p) {
    p.set<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DGELU);
    p.set<void*>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, nullptr);
  });
  expect(invalid, "no place for the bias gradient", [](Product& p) {
    p.set<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BGRADB);
    p.set<void*>(CUBLASLT_MATMUL_DESC_BIAS_POINTER, nullptr);
  });
  expect(invalid, "an unknown epilogue", [](Product& p) { p.set<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE, 3); });
  expect(invalid, "other inner dimensions", [](Product& p) { p.set<int32_t>(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_T); });
  expect(invalid, "ld below the rows", [](Product& p) { p.set<int64_t>(p.a, CUBLASLT_MATRIX_LAYOUT_LD, 15); });
  expect(invalid, "one batch of three", [](Product& p) { p.set<int32_t>(p.a, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 3); });
  expect(invalid, "results on top of each other", [](Product& p) {
    for (const auto layout : {p.a, p.b, p.d}) p.set<int32_t>(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, 3);
  });
  expect(unsupported, "two types", [](Product& p) { p.set<uint32_t>(p.b, CUBLASLT_MATRIX_LAYOUT_TYPE, CUDA_R_16BF); });
  expect(unsupported, "f32 to f16", [](Product& p) {
    for (const auto layout : {p.a, p.b}) p.set<uint32_t>(layout, CUBLASLT_MATRIX_LAYOUT_TYPE, CUDA_R_32F);
  });
}

TEST(SimtCublasLt, TheCallRefuses) {
  const auto expect = [](cublasStatus_t status, const char* what, const std::function<void(Product&)>& spoil) {
    Product p;
    ASSERT_EQ(p.search(), CUBLAS_STATUS_SUCCESS);
    spoil(p);
    EXPECT_EQ(p.run(), status) << what;
  };
  const cublasStatus_t invalid = CUBLAS_STATUS_INVALID_VALUE;
  expect(invalid, "an address off its alignment", [](Product& p) { p.a_address = p.a_data.data + 1; });
  expect(invalid, "a workspace that is too small", [](Product& p) { p.workspace_bytes = 256; });
  expect(invalid, "no algorithm", [](Product& p) { p.result = {}; });
  expect(invalid, "the algorithm of another problem",
         [](Product& p) { p.set<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS); });
  std::vector<__half> host(Product::kRows * Product::kCols + 8);
  expect(CUBLAS_STATUS_EXECUTION_FAILED, "memory of the host",
         [&](Product& p) { p.d_address = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(host.data()) + 15) / 16 * 16); });
  expect(CUBLAS_STATUS_EXECUTION_FAILED, "a matrix that ends too early", [](Product& p) { p.a_address = p.a_data.data + 8; });
}

TEST(SimtCublasLt, AttributesHaveTheirSizes) {
  Product p;
  EXPECT_EQ(p.set<int64_t>(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_N), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(p.set<int32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, 16), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(p.prefer<uint32_t>(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 16), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(p.prefer<uint64_t>(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 16), CUBLAS_STATUS_INVALID_VALUE);
}

// x (1, 4, 4, 2) by w (2, 3, 3, 2), padded by one, in f32.
struct Convolution {
  cudnnHandle_t handle = nullptr;
  cudnnTensorDescriptor_t x = nullptr, y = nullptr;
  cudnnFilterDescriptor_t w = nullptr;
  cudnnConvolutionDescriptor_t conv = nullptr;
  Buffer<float> x_data{std::vector<float>(32, 1.0f)}, w_data{std::vector<float>(36, 1.0f + 0x1p-20f)}, y_data{32};
  Buffer<char> workspace{1 << 16};
  size_t workspace_bytes = 1 << 16;

  Convolution() {
    cudnnCreate(&handle);
    cudnnCreateTensorDescriptor(&x);
    cudnnCreateTensorDescriptor(&y);
    cudnnCreateFilterDescriptor(&w);
    cudnnCreateConvolutionDescriptor(&conv);
    cudnnSetTensor4dDescriptor(x, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, 1, 2, 4, 4);
    cudnnSetTensor4dDescriptor(y, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, 1, 2, 4, 4);
    cudnnSetFilter4dDescriptor(w, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NHWC, 2, 2, 3, 3);
    cudnnSetConvolution2dDescriptor(conv, 1, 1, 1, 1, 1, 1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT);
    cudnnSetConvolutionMathType(conv, CUDNN_FMA_MATH);
  }
  ~Convolution() {
    cudnnDestroyConvolutionDescriptor(conv);
    cudnnDestroyFilterDescriptor(w);
    cudnnDestroyTensorDescriptor(y);
    cudnnDestroyTensorDescriptor(x);
    cudnnDestroy(handle);
  }
  cudnnStatus_t forward(cudnnConvolutionFwdAlgo_t algo = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM) {
    const float one = 1.0f, zero = 0.0f;
    return cudnnConvolutionForward(handle, &one, x, x_data.data, w, w_data.data, conv, algo, workspace.data, workspace_bytes,
                                   &zero, y, y_data.data);
  }
  std::vector<float> backward_data(cudnnConvolutionBwdDataAlgo_t algo) {
    const float one = 1.0f, zero = 0.0f;
    EXPECT_EQ(cudnnConvolutionBackwardData(handle, &one, w, w_data.data, y, y_data.data, conv, algo, workspace.data,
                                           workspace_bytes, &zero, x, x_data.data),
              CUDNN_STATUS_SUCCESS);
    return x_data.values();
  }
};

TEST(SimtCudnn, F32KeepsItsDigitsOnlyWhenAsked) {
  Convolution c;
  ASSERT_EQ(c.forward(), CUDNN_STATUS_SUCCESS);
  EXPECT_EQ(c.y_data.values()[0], 8.0f * (1.0f + 0x1p-20f));  // the corner: 2 x 2 pixels of 2 channels
  cudnnSetConvolutionMathType(c.conv, CUDNN_DEFAULT_MATH);
  ASSERT_EQ(c.forward(), CUDNN_STATUS_SUCCESS);
  EXPECT_EQ(c.y_data.values()[0], 8.0f);  // TF32
}

TEST(SimtCudnn, Refuses) {
  const auto expect = [](cudnnStatus_t status, const char* what, const std::function<void(Convolution&)>& spoil) {
    Convolution c;
    spoil(c);
    EXPECT_EQ(c.forward(), status) << what;
  };
  expect(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "another output",
         [](Convolution& c) { cudnnSetTensor4dDescriptor(c.y, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, 1, 2, 4, 3); });
  expect(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "two types",
         [](Convolution& c) { cudnnSetFilter4dDescriptor(c.w, CUDNN_DATA_HALF, CUDNN_TENSOR_NHWC, 2, 2, 3, 3); });
  expect(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, "a workspace that is too small",
         [](Convolution& c) { c.workspace_bytes = 4; });
  expect(CUDNN_STATUS_BAD_PARAM, "a descriptor that was not set", [](Convolution& c) {
    cudnnDestroyTensorDescriptor(c.y);
    cudnnCreateTensorDescriptor(&c.y);
  });
  expect(CUDNN_STATUS_EXECUTION_FAILED, "images that end too early", [](Convolution& c) {
    cudnnSetTensor4dDescriptor(c.x, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, 2, 2, 4, 4);
    cudnnSetTensor4dDescriptor(c.y, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, 2, 2, 4, 4);
  });
  EXPECT_EQ(Convolution().forward(CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD), CUDNN_STATUS_NOT_SUPPORTED);
}

TEST(SimtCudnn, NonDeterministicAlgorithmsAreThat) {
  Convolution c;
  ASSERT_EQ(c.forward(), CUDNN_STATUS_SUCCESS);
  EXPECT_EQ(c.backward_data(CUDNN_CONVOLUTION_BWD_DATA_ALGO_1), c.backward_data(CUDNN_CONVOLUTION_BWD_DATA_ALGO_1));
  EXPECT_NE(c.backward_data(CUDNN_CONVOLUTION_BWD_DATA_ALGO_0), c.backward_data(CUDNN_CONVOLUTION_BWD_DATA_ALGO_0));
}

}  // namespace
}  // namespace star::test
