// Converting JavaScript arguments for native ops: `Call` reads them by position and names op and argument in every error.
#pragma once

#include <napi.h>

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "binding/device_lock.h"
#include "core/backend.h"
#include "core/error.h"
#include "core/tensor.h"

namespace star {

class Call {
 public:
  Call(const char* op, const Napi::CallbackInfo& info) : op(op), info(info) {}

  const char* const op;
  const Napi::CallbackInfo& info;

  // All tensors of a call lie on one device; any other throws ERR_DEVICE. `tensor_anywhere` is for copies between devices. The
  // call holds what it gives: reading an argument can run JavaScript (a getter of an array), which may release the tensor.
  const Tensor& tensor(size_t i, const char* name) const;
  const Tensor& tensor_anywhere(size_t i, const char* name) const;
  const Tensor* optional_tensor(size_t i, const char* name) const;       // nullptr for null and undefined
  std::vector<const Tensor*> tensors(size_t i, const char* name) const;  // an array of tensors
  int64_t integer(size_t i, const char* name) const;
  int64_t integer(size_t i, const char* name, int64_t least, int64_t most) const;  // throws ERR_ARGUMENT outside of the two
  double number(size_t i, const char* name) const;
  bool boolean(size_t i, const char* name) const;
  std::string string(size_t i, const char* name) const;
  Shape shape(size_t i, const char* name) const;
  std::vector<int64_t> integers(size_t i, const char* name) const;

  // Throws ERR_SHAPE "op: name has shape (…), expected …".
  void expect_rank(const Tensor& t, const char* name, int rank) const;
  void expect_shape(const Tensor& t, const char* name, const Shape& shape) const;
  void expect_dtype(const Tensor& t, const char* name, DType dtype) const;
  [[noreturn]] __attribute__((format(printf, 2, 3))) void wrong_shape(const char* format, ...) const;

  // Throws ERR_FILE when memory of a tensor of this call was lost meanwhile: a mapped file that was shortened reads as zeros.
  void expect_intact() const;

  Napi::Value wrap(const Tensor& t) const;
  Napi::Value wrap(std::initializer_list<Tensor> list) const;  // an array; a tensor without storage becomes null

 private:
  const Tensor& hold(const char* name, const Napi::Value& value) const;
  const Tensor& on_one_device(const Tensor& t, const char* name) const;
  mutable const Backend* backend_ = nullptr;  // of the first tensor
  mutable DeviceLock lock_;                   // of that backend, to the end of the call
  mutable std::deque<Tensor> held_;
};

inline CRef ref_or_none(const Tensor* t) { return t ? CRef(t->ref()) : CRef{}; }

// exports[name] = function, guarded (binding/guarded.h).
void define_op(Napi::Object exports, const char* name, std::function<Napi::Value(const Call&)> body);
void set_error_class(Napi::Env env, Napi::Function error_class);
Napi::Error to_js_error(Napi::Env env, const char* code, const std::string& message);

}  // namespace star
