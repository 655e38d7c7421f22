#include "binding/call.h"

#include <cmath>
#include <cstdarg>

#include "binding/environment.h"
#include "binding/guarded.h"
#include "binding/tensor_object.h"

namespace star {

namespace {

std::string describe(const Napi::Value& value) {
  switch (value.Type()) {
    case napi_undefined: return "undefined";
    case napi_null: return "null";
    case napi_boolean: return value.ToString().Utf8Value();
    case napi_number: return value.ToString().Utf8Value();
    case napi_string: return "a string";
    case napi_function: return "a function";
    default: return value.IsArray() ? "an array" : "an object";
  }
}

[[noreturn]] void wrong_argument(const Call& call, const char* name, const char* expected, const Napi::Value& given) {
  fail(ErrorCode::Argument, "%s: %s must be %s, got %s", call.op, name, expected, describe(given).c_str());
}

// A longer list is a mistake, or an array whose length was set without filling it.
constexpr uint32_t kMostIntegers = 64, kMostTensors = 1 << 20;

Napi::Array to_array(const Call& call, const char* name, const char* expected, const Napi::Value& value, uint32_t most) {
  if (!value.IsArray()) wrong_argument(call, name, expected, value);
  const auto array = value.As<Napi::Array>();
  if (array.Length() > most)
    fail(ErrorCode::Argument, "%s: %s has %u elements, expected %u at most", call.op, name, array.Length(), most);
  return array;
}

int64_t to_integer(const Call& call, const char* name, const Napi::Value& value) {
  if (!value.IsNumber()) wrong_argument(call, name, "a whole number", value);
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(std::floor(number) == number) || std::abs(number) > 9007199254740991.0)
    wrong_argument(call, name, "a whole number", value);
  return static_cast<int64_t>(number);
}

}  // namespace

const Tensor& Call::hold(const char* name, const Napi::Value& value) const {
  if (!TensorObject::is(value)) wrong_argument(*this, name, "a tensor", value);
  return held_.emplace_back(Napi::ObjectWrap<TensorObject>::Unwrap(value.As<Napi::Object>())->tensor(op));
}

void Call::expect_intact() const {
  for (const Tensor& t : held_) t.storage->expect_intact();
}

const Tensor& Call::on_one_device(const Tensor& t, const char* name) const {
  if (!backend_) {
    backend_ = &t.backend();
    lock_ = lock_device(*backend_);
  }
  if (backend_ != &t.backend())
    fail(ErrorCode::Device, "%s: %s lies on %s and the tensor before it on %s: copy one of them to the other's device first", op,
         name, t.backend().name(), backend_->name());
  return t;
}

const Tensor& Call::tensor(size_t i, const char* name) const { return on_one_device(hold(name, info[i]), name); }

const Tensor& Call::tensor_anywhere(size_t i, const char* name) const { return hold(name, info[i]); }

const Tensor* Call::optional_tensor(size_t i, const char* name) const {
  if (info[i].IsNull() || info[i].IsUndefined()) return nullptr;
  return &tensor(i, name);
}

std::vector<const Tensor*> Call::tensors(size_t i, const char* name) const {
  const auto array = to_array(*this, name, "an array of tensors", info[i], kMostTensors);
  std::vector<const Tensor*> list;
  for (uint32_t j = 0, length = array.Length(); j < length; ++j) {
    const Napi::HandleScope scope(info.Env());
    list.push_back(&on_one_device(hold(name, array.Get(j)), name));
  }
  return list;
}

int64_t Call::integer(size_t i, const char* name) const { return to_integer(*this, name, info[i]); }

int64_t Call::integer(size_t i, const char* name, int64_t least, int64_t most) const {
  const int64_t value = integer(i, name);
  if (value < least || value > most)
    fail(ErrorCode::Argument, "%s: %s is %lld, expected %lld to %lld", op, name, static_cast<long long>(value),
         static_cast<long long>(least), static_cast<long long>(most));
  return value;
}

double Call::number(size_t i, const char* name) const {
  if (!info[i].IsNumber()) wrong_argument(*this, name, "a number", info[i]);
  return info[i].As<Napi::Number>().DoubleValue();
}

bool Call::boolean(size_t i, const char* name) const {
  if (!info[i].IsBoolean()) wrong_argument(*this, name, "true or false", info[i]);
  return info[i].As<Napi::Boolean>().Value();
}

std::string Call::string(size_t i, const char* name) const {
  if (!info[i].IsString()) wrong_argument(*this, name, "a string", info[i]);
  return info[i].As<Napi::String>().Utf8Value();
}

std::vector<int64_t> Call::integers(size_t i, const char* name) const {
  const auto array = to_array(*this, name, "an array of whole numbers", info[i], kMostIntegers);
  std::vector<int64_t> list;
  for (uint32_t j = 0, length = array.Length(); j < length; ++j) list.push_back(to_integer(*this, name, array.Get(j)));
  return list;
}

Shape Call::shape(size_t i, const char* name) const {
  Shape shape;
  for (int64_t dim : integers(i, name)) shape.push_back(dim);
  return shape;
}

void Call::expect_rank(const Tensor& t, const char* name, int rank) const {
  if (t.shape.rank() != rank) wrong_shape("%s has shape %s, expected %d dimensions", name, t.shape.str().c_str(), rank);
}

void Call::expect_shape(const Tensor& t, const char* name, const Shape& shape) const {
  if (!(t.shape == shape)) wrong_shape("%s has shape %s, expected %s", name, t.shape.str().c_str(), shape.str().c_str());
}

void Call::expect_dtype(const Tensor& t, const char* name, DType dtype) const {
  if (t.dtype != dtype) fail(ErrorCode::DType, "%s: %s is %s, expected %s", op, name, dtype_name(t.dtype), dtype_name(dtype));
}

void Call::wrong_shape(const char* format, ...) const {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fail(ErrorCode::Shape, "%s: %s", op, text);
}

Napi::Value Call::wrap(const Tensor& t) const { return TensorObject::wrap(info.Env(), t); }

Napi::Value Call::wrap(std::initializer_list<Tensor> list) const {
  Napi::Array array = Napi::Array::New(info.Env(), list.size());
  uint32_t i = 0;
  for (const Tensor& t : list) array.Set(i++, t.storage ? wrap(t) : info.Env().Null());
  return array;
}

void set_error_class(Napi::Env env, Napi::Function error_class) { environment(env).error_class = Napi::Persistent(error_class); }

Napi::Error to_js_error(Napi::Env env, const char* code, const std::string& message) {
  auto& error_class = environment(env).error_class;
  if (error_class.IsEmpty()) return Napi::Error::New(env, std::string(code) + ": " + message);
  Napi::Value error = error_class.New({Napi::String::New(env, code), Napi::String::New(env, message)});
  return Napi::Error(env, error);
}

void define_op(Napi::Object exports, const char* name, std::function<Napi::Value(const Call&)> body) {
  auto function = [name, body = std::move(body)](const Napi::CallbackInfo& info) -> Napi::Value {
    return guarded(name, info, body);
  };
  exports.Set(name, Napi::Function::New(exports.Env(), std::move(function), name));
}

}  // namespace star
