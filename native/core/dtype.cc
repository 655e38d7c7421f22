#include "core/dtype.h"

#include "core/error.h"

namespace star {

size_t dtype_size(DType dtype) {
  switch (dtype) {
    case DType::F32: return 4;
    case DType::F16: return 2;
    case DType::BF16: return 2;
    case DType::I32: return 4;
    case DType::U8: return 1;
    case DType::I8: return 1;
  }
  fail(ErrorCode::Internal, "dtype_size: unknown dtype %d", static_cast<int>(dtype));
}

const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::F32: return "f32";
    case DType::F16: return "f16";
    case DType::BF16: return "bf16";
    case DType::I32: return "i32";
    case DType::U8: return "u8";
    case DType::I8: return "i8";
  }
  return "unknown";
}

DType dtype_from_name(const std::string& name) {
  for (DType dtype : {DType::F32, DType::F16, DType::BF16, DType::I32, DType::U8, DType::I8})
    if (name == dtype_name(dtype)) return dtype;
  fail(ErrorCode::DType, "unknown dtype '%s': expected f32, f16, bf16, i32, u8 or i8", name.c_str());
}

namespace {
void expect(DType given, DType wanted) {
  if (given != wanted)
    fail(ErrorCode::DType, "this op takes %s here, got %s: cast the tensor first", dtype_name(wanted), dtype_name(given));
}
}  // namespace

const float* CRef::f32() const {
  expect(dtype, DType::F32);
  return static_cast<const float*>(data);
}
const int32_t* CRef::i32() const {
  expect(dtype, DType::I32);
  return static_cast<const int32_t*>(data);
}
const uint8_t* CRef::u8() const {
  expect(dtype, DType::U8);
  return static_cast<const uint8_t*>(data);
}
const int8_t* CRef::i8() const {
  expect(dtype, DType::I8);
  return static_cast<const int8_t*>(data);
}
float* Ref::f32() const {
  expect(dtype, DType::F32);
  return static_cast<float*>(data);
}
int32_t* Ref::i32() const {
  expect(dtype, DType::I32);
  return static_cast<int32_t*>(data);
}
uint8_t* Ref::u8() const {
  expect(dtype, DType::U8);
  return static_cast<uint8_t*>(data);
}
int8_t* Ref::i8() const {
  expect(dtype, DType::I8);
  return static_cast<int8_t*>(data);
}

}  // namespace star
