#include "binding/tensor_object.h"

#include "binding/call.h"
#include "binding/environment.h"
#include "binding/guarded.h"

namespace star {

namespace {

const napi_type_tag kTensorTag = {0x8f1d3a52c6b7410e, 0x9a44f2d07b31c5e8};

// V8 ends the process where an ArrayBuffer is larger than its limit, which is 4 GiB in Node.js 20 and more in later ones.
constexpr size_t kLargestBuffer = size_t{0xffffffff};

}  // namespace

void TensorObject::define(Napi::Env env, Napi::Object exports) {
  Napi::Function type =
      DefineClass(env, "NativeTensor",
                  {InstanceMethod("shape", &TensorObject::shape), InstanceMethod("dtype", &TensorObject::dtype),
                   InstanceMethod("device", &TensorObject::device), InstanceMethod("reshape", &TensorObject::reshape),
                   InstanceMethod("slice", &TensorObject::slice), InstanceMethod("alias", &TensorObject::alias),
                   InstanceMethod("read", &TensorObject::read), InstanceMethod("write", &TensorObject::write),
                   InstanceMethod("shared", &TensorObject::shared), InstanceMethod("release", &TensorObject::release)});
  environment(env).tensor_class = Napi::Persistent(type);
  exports.Set("NativeTensor", type);
}

Napi::Value TensorObject::wrap(Napi::Env env, Tensor tensor) {
  Napi::EscapableHandleScope scope(env);
  Napi::Object object = environment(env).tensor_class.New({});
  Unwrap(object)->tensor_ = std::move(tensor);
  return scope.Escape(object);
}

bool TensorObject::is(const Napi::Value& value) { return value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&kTensorTag); }

TensorObject::TensorObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TensorObject>(info) {
  info.This().As<Napi::Object>().TypeTag(&kTensorTag);
}

const Tensor& TensorObject::tensor(const char* op) const {
  if (!tensor_.storage) fail(ErrorCode::Argument, "%s: a tensor was used after it was disposed", op);
  return tensor_;
}

Napi::Value TensorObject::shape(const Napi::CallbackInfo& info) {
  return guarded("shape", info, [&](const Call& call) -> Napi::Value {
    const Tensor& t = tensor(call.op);
    Napi::Array array = Napi::Array::New(info.Env(), static_cast<size_t>(t.shape.rank()));
    for (int i = 0; i < t.shape.rank(); ++i)
      array.Set(static_cast<uint32_t>(i), Napi::Number::New(info.Env(), static_cast<double>(t.shape[i])));
    return array;
  });
}

Napi::Value TensorObject::dtype(const Napi::CallbackInfo& info) {
  return guarded("dtype", info, [&](const Call& call) -> Napi::Value {
    return Napi::String::New(info.Env(), dtype_name(tensor(call.op).dtype));
  });
}

Napi::Value TensorObject::device(const Napi::CallbackInfo& info) {
  return guarded("device", info, [&](const Call& call) -> Napi::Value {
    return Napi::String::New(info.Env(), tensor(call.op).backend().name());
  });
}

Napi::Value TensorObject::reshape(const Napi::CallbackInfo& info) {
  return guarded("reshape", info, [&](const Call& call) {
    const Shape to = call.shape(0, "shape");  // first: reading it can run JavaScript that releases this tensor
    return call.wrap(tensor(call.op).reshape(to));
  });
}

Napi::Value TensorObject::slice(const Napi::CallbackInfo& info) {
  return guarded("slice", info, [&](const Call& call) {
    return call.wrap(tensor(call.op).slice(call.integer(0, "begin"), call.integer(1, "end")));
  });
}

Napi::Value TensorObject::alias(const Napi::CallbackInfo& info) {
  return guarded("alias", info, [&](const Call& call) { return call.wrap(tensor(call.op)); });
}

Napi::Value TensorObject::shared(const Napi::CallbackInfo& info) {
  return guarded("shared", info, [&](const Call& call) -> Napi::Value {
    return Napi::Boolean::New(info.Env(), tensor(call.op).storage.use_count() > 1);
  });
}

Napi::Value TensorObject::read(const Napi::CallbackInfo& info) {
  return guarded("read", info, [&](const Call& call) -> Napi::Value {
    const Tensor& t = tensor(call.op);
    if (t.bytes() > kLargestBuffer)
      fail(ErrorCode::Memory, "read: %zu bytes do not fit one array of JavaScript, which holds %zu at most: read slices of it",
           t.bytes(), kLargestBuffer);
    Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(info.Env(), t.bytes());
    const auto lock = lock_device(t.backend());
    t.backend().copy_to_host(buffer.Data(), t.data(), t.bytes());
    t.storage->expect_intact();
    return buffer;
  });
}

Napi::Value TensorObject::write(const Napi::CallbackInfo& info) {
  return guarded("write", info, [&](const Call& call) -> Napi::Value {
    const Tensor& t = tensor(call.op);
    if (!info[0].IsTypedArray()) fail(ErrorCode::Argument, "write: expected a typed array");
    const auto array = info[0].As<Napi::TypedArray>();
    if (array.ByteLength() != t.bytes())
      fail(ErrorCode::Shape, "write: the array holds %zu bytes, the tensor %s of %s takes %zu", array.ByteLength(),
           t.shape.str().c_str(), dtype_name(t.dtype), t.bytes());
    const auto lock = lock_device(t.backend());
    t.backend().copy_from_host(t.data(), static_cast<const char*>(array.ArrayBuffer().Data()) + array.ByteOffset(), t.bytes());
    return info.Env().Undefined();
  });
}

Napi::Value TensorObject::release(const Napi::CallbackInfo& info) {
  tensor_ = Tensor{};
  return info.Env().Undefined();
}

}  // namespace star
