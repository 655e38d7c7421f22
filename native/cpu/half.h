// The 16-bit floats as types, and the choice of a type by its name at run time.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/error.h"

namespace star {

struct Bf16 {
  uint16_t bits;
};
#if defined(__aarch64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
using Half = __fp16;  // the same type by the name that GCC's C++ had for it there
#else
using Half = _Float16;
#endif

inline bool is_half(DType dtype) { return dtype == DType::F16 || dtype == DType::BF16; }

// Calls f with a value of the element type (its type is what counts). Throws ERR_DTYPE unless it is f32, f16 or bf16.
template <class F>
void with_float_type(DType dtype, const char* op, F&& f) {
  switch (dtype) {
    case DType::F32: return f(float{});
    case DType::F16: return f(Half{});
    case DType::BF16: return f(Bf16{});
    default: fail(ErrorCode::DType, "%s: a tensor is %s, expected f32, f16 or bf16", op, dtype_name(dtype));
  }
}

// All float tensors of an op have one type.
inline void expect_like_others(const CRef& ref, DType dtype, const char* op) {
  if (ref && ref.dtype != dtype)
    fail(ErrorCode::DType, "%s: a tensor is %s, expected %s like the others", op, dtype_name(ref.dtype), dtype_name(dtype));
}

}  // namespace star
