// The JavaScript class `NativeTensor`: a handle that owns one reference to a native tensor.
#pragma once

#include <napi.h>

#include "core/tensor.h"

namespace star {

class TensorObject : public Napi::ObjectWrap<TensorObject> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  static Napi::Value wrap(Napi::Env env, Tensor tensor);
  static bool is(const Napi::Value& value);
  explicit TensorObject(const Napi::CallbackInfo& info);

  const Tensor& tensor(const char* op) const;  // throws ERR_ARGUMENT after release()

 private:
  Napi::Value shape(const Napi::CallbackInfo& info);
  Napi::Value dtype(const Napi::CallbackInfo& info);
  Napi::Value device(const Napi::CallbackInfo& info);
  Napi::Value reshape(const Napi::CallbackInfo& info);
  Napi::Value slice(const Napi::CallbackInfo& info);
  Napi::Value alias(const Napi::CallbackInfo& info);
  Napi::Value shared(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value release(const Napi::CallbackInfo& info);

  Tensor tensor_;
};

}  // namespace star
