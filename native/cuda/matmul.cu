// Matrix products, the linear layer in 8 bits and the linear layer's gradients, by cuBLASLt: bias, gelu and their gradients are
// done in the product's epilogue where the library offers that, and in a pass of our own over the product where it does not. The
// library's gelu is the tanh form, like ours.
#include <cstdint>
#include <initializer_list>

#include "core/error.h"
#include "cuda/bias_gelu.h"
#include "cuda/cuda_backend.h"
#include "cuda/dispatch.h"
#include "cuda/gemm.h"
#include "cuda/int8.h"
#include "cuda/launch.h"

namespace star {

namespace {

void check_dtypes(const char* op, CRef first, std::initializer_list<CRef> others) {
  dispatch_float(first.dtype, op, [&](auto tag) {
    for (const CRef& other : others) as<decltype(tag)>(other, op);
  });
}

void check_sizes(const char* op, std::initializer_list<int64_t> sizes) {
  for (const int64_t size : sizes)
    if (size > INT32_MAX)
      fail(ErrorCode::Shape, "%s: a dimension is %lld, expected less than 2^31", op, static_cast<long long>(size));
}

CudaGemm& opened(CudaBackend& backend, std::shared_ptr<CudaGemm>& gemm) {
  if (!gemm) gemm = std::make_shared<CudaGemm>(backend);
  return *gemm;
}

}  // namespace

void CudaBackend::matmul(const MatmulArgs& given) {
  MatmulArgs args = given;
  const bool gelu = args.activation == Activation::Gelu;
  if (args.accumulate && (args.bias || gelu || args.pre_activation))
    fail(ErrorCode::Argument, "matmul: accumulate was given with a bias or an activation, expected a plain product");
  check_dtypes("matmul", args.c, {args.a, args.b, args.bias, args.pre_activation});
  if (args.batch == 0 || args.m == 0 || args.n == 0) return;
  check_sizes("matmul", {args.batch, args.m, args.n, args.k});
  const size_t bytes = static_cast<size_t>(args.batch * args.m * args.n) * dtype_size(args.c.dtype);
  const Ref kept = gelu ? args.pre_activation : Ref{};  // without gelu it is the result itself
  const auto finish = [&](CRef product) {
    if (args.bias || gelu) bias_gelu(*this, "matmul", {args.c, kept, product, args.bias, given.batch * given.m, args.n, gelu});
  };
  if (args.k == 0) {  // an empty sum
    if (args.accumulate) return;
    check_cuda(cudaMemsetAsync(args.c.data, 0, bytes, stream()), "matmul");
    finish(args.c);
  } else {
    if (args.b_stride == 0 && !args.trans_a && args.a_stride == args.m * args.k && args.batch * args.m <= INT32_MAX) {
      args.m *= args.batch;  // one taller product
      args.batch = 1;
    }
    if (args.batch == 1) args.a_stride = args.b_stride = 0;
    int code = gelu ? (kept ? CUBLASLT_EPILOGUE_GELU_AUX : CUBLASLT_EPILOGUE_GELU) : CUBLASLT_EPILOGUE_DEFAULT;
    if (args.bias) code = gelu ? code | CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_BIAS;
    opened(*this, gemm_).run(args, {static_cast<cublasLtEpilogue_t>(code), const_cast<void*>(args.bias.data), kept.data}, finish);
  }
  if (args.pre_activation && !gelu) copy(args.pre_activation.data, args.c.data, bytes);
}

// By the library's products of bytes where it offers them (k and n multiples of 4, in cuBLAS's documentation of IMMA kernels),
// and by the same whole numbers in f32 where it does not.
void CudaBackend::linear_int8(const LinearInt8Args& a) {
  const char* op = "linear_int8";
  check_dtypes(op, a.y, {a.x, a.bias});
  if (a.rows == 0 || a.n == 0) return;
  check_sizes(op, {a.rows, a.n, a.k});
  const auto floats = [](int64_t count) { return static_cast<size_t>(count) * sizeof(float); };
  const Scratch bytes(*this, static_cast<size_t>(a.rows * a.k)), scales(*this, floats(a.rows));
  const Ref x8{bytes.as<void>(), DType::I8}, scale{scales.as<void>(), DType::F32};
  quantize_rows({x8, scale, a.x, a.rows, a.k});
  MatmulArgs product{};
  product.batch = 1, product.m = a.rows, product.n = a.n, product.k = a.k;
  product.trans_b = true;
  const bool gelu = a.activation == Activation::Gelu;
  if (a.k > 0 && a.k % 4 == 0 && a.n % 4 == 0 && reinterpret_cast<uintptr_t>(a.w.data) % 16 == 0) {
    const Scratch sums(*this, static_cast<size_t>(a.rows * a.n) * sizeof(int32_t));
    product.c = {sums.as<void>(), DType::I32}, product.a = x8, product.b = a.w;
    opened(*this, gemm_).run(product, {}, [](CRef) {});
    return scale_sums(*this, {a.y, product.c, scale, a.wscale, a.bias, a.rows, a.n, gelu});
  }
  const Scratch wide_x(*this, floats(a.rows * a.k)), wide_w(*this, floats(a.n * a.k)), sums(*this, floats(a.rows * a.n));
  const Ref x{wide_x.as<void>(), DType::F32}, w{wide_w.as<void>(), DType::F32}, y{sums.as<void>(), DType::F32};
  dequantize_rows({x, x8, scale, a.rows, a.k});
  dequantize_rows({w, a.w, a.wscale, a.n, a.k});
  product.c = y, product.a = x, product.b = w;
  matmul(product);
  bias_gelu(*this, op, {a.y, {}, y, a.bias, a.rows, a.n, gelu});
}

void CudaBackend::linear_backward_input(const LinearBackwardInputArgs& args) {
  const char* op = "linear_backward_input";
  check_dtypes(op, args.dx, {args.dy, args.w, args.sum});
  if (args.rows == 0 || args.k == 0) return;
  check_sizes(op, {args.rows, args.n, args.k});
  if (args.n == 0) {  // an empty sum
    const size_t bytes = static_cast<size_t>(args.rows * args.k) * dtype_size(args.dx.dtype);
    return check_cuda(cudaMemsetAsync(args.dx.data, 0, bytes, stream()), op);
  }
  MatmulArgs product{};
  product.c = args.dx, product.a = args.dy, product.b = args.w;
  product.batch = 1, product.m = args.rows, product.n = args.k, product.k = args.n;
  const Epilogue epilogue{args.sum ? CUBLASLT_EPILOGUE_DGELU : CUBLASLT_EPILOGUE_DEFAULT, nullptr,
                          const_cast<void*>(args.sum.data)};
  opened(*this, gemm_).run(product, epilogue, [&](CRef dy) {
    if (args.sum) gelu_backward(*this, op, {args.dx, dy, args.sum, args.rows * args.k});
  });
}

void CudaBackend::linear_backward_weight(const LinearBackwardWeightArgs& args) {
  const char* op = "linear_backward_weight";
  check_dtypes(op, args.dw, {args.dbias, args.dy, args.x});
  check_sizes(op, {args.rows, args.n, args.k});
  const auto sum_bias = [&](CRef) {
    if (args.dbias) reduce({args.dbias, args.dy, ReduceOp::Sum, 1.0f, args.rows, args.n, 1});
  };
  if (args.rows == 0 || args.n == 0 || args.k == 0) {  // an empty sum
    const size_t bytes = static_cast<size_t>(args.n * args.k) * dtype_size(args.dw.dtype);
    if (bytes > 0) check_cuda(cudaMemsetAsync(args.dw.data, 0, bytes, stream()), op);
    return sum_bias(args.dw);
  }
  MatmulArgs product{};
  product.c = args.dw, product.a = args.dy, product.b = args.x;
  product.batch = 1, product.m = args.n, product.n = args.k, product.k = args.rows;
  product.trans_a = true;
  const Epilogue epilogue{args.dbias ? CUBLASLT_EPILOGUE_BGRADB : CUBLASLT_EPILOGUE_DEFAULT, args.dbias.data, nullptr};
  opened(*this, gemm_).run(product, epilogue, sum_bias);
}

}  // namespace star
