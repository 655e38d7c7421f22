// From the element type of a reference to the type of a pointer.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/dtype.h"
#include "core/error.h"

namespace star {

template <class T>
constexpr DType kDType = DType::F32;
template <>
inline constexpr DType kDType<__half> = DType::F16;
template <>
inline constexpr DType kDType<__nv_bfloat16> = DType::BF16;

// Calls f with a value of the element type (its type is what counts). Throws ERR_DTYPE unless it is f32, f16 or bf16.
template <class F>
void dispatch_float(DType dtype, const char* op, F&& f) {
  switch (dtype) {
    case DType::F32: return f(float{});
    case DType::F16: return f(__half{});
    case DType::BF16: return f(__nv_bfloat16{});
    default: fail(ErrorCode::DType, "%s: a tensor is %s, expected f32, f16 or bf16", op, dtype_name(dtype));
  }
}

// The address as T*, nullptr when not given. Throws ERR_DTYPE when it holds another type.
template <class T>
const T* as(const CRef& ref, const char* op) {
  if (ref.data && ref.dtype != kDType<T>)
    fail(ErrorCode::DType, "%s: a tensor is %s, expected %s like the others", op, dtype_name(ref.dtype), dtype_name(kDType<T>));
  return static_cast<const T*>(ref.data);
}
template <class T>
T* as(const Ref& ref, const char* op) {
  return const_cast<T*>(as<T>(static_cast<CRef>(ref), op));
}

}  // namespace star
