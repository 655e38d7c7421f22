// Bytes of JavaScript as bytes of C++ and back, both copied.
#pragma once

#include <cstring>
#include <string>

#include "binding/call.h"

namespace star {

inline std::string bytes_of(const char* op, const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray()) fail(ErrorCode::Argument, "%s: %s must be a Uint8Array", op, name);
  const auto array = value.As<Napi::TypedArray>();
  return {static_cast<const char*>(array.ArrayBuffer().Data()) + array.ByteOffset(), array.ByteLength()};
}

inline std::string bytes_of(const Call& call, size_t i, const char* name) { return bytes_of(call.op, call.info[i], name); }

inline Napi::Value to_array(Napi::Env env, const void* data, size_t size) {
  Napi::Uint8Array array = Napi::Uint8Array::New(env, size);
  if (size > 0) std::memcpy(array.Data(), data, size);
  return array;
}

}  // namespace star
