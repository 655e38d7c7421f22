// Element types of tensors and the references (pointer + type) that op arguments carry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace star {

enum class DType : uint8_t { F32, F16, BF16, I32, U8, I8 };  // I8: weights in 8 bits (ops/int8.h)

size_t dtype_size(DType dtype);
const char* dtype_name(DType dtype);             // "f32", "f16", …
DType dtype_from_name(const std::string& name);  // throws ERR_DTYPE for an unknown name

// What an op reads: a pointer with its element type. `data == nullptr` means "not given".
struct CRef {
  const void* data = nullptr;
  DType dtype = DType::F32;
  explicit operator bool() const { return data != nullptr; }
  const float* f32() const;  // throws ERR_DTYPE when it is another type
  const int32_t* i32() const;
  const uint8_t* u8() const;
  const int8_t* i8() const;
};

// What an op writes.
struct Ref {
  void* data = nullptr;
  DType dtype = DType::F32;
  explicit operator bool() const { return data != nullptr; }
  operator CRef() const { return {data, dtype}; }
  float* f32() const;
  int32_t* i32() const;
  uint8_t* u8() const;
  int8_t* i8() const;
};

}  // namespace star
