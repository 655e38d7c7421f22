#include "binding/lmdb_object.h"

#include "binding/bytes.h"
#include "binding/call.h"
#include "binding/guarded.h"

namespace star {

void LmdbReaderObject::define(Napi::Env env, Napi::Object exports) {
  exports.Set("LmdbReader",
              DefineClass(env, "LmdbReader",
                          {InstanceMethod("get", &LmdbReaderObject::get), InstanceMethod("locate", &LmdbReaderObject::locate),
                           InstanceMethod("keys", &LmdbReaderObject::keys), InstanceMethod("count", &LmdbReaderObject::count),
                           InstanceMethod("close", &LmdbReaderObject::close)}));
}

LmdbReaderObject::LmdbReaderObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<LmdbReaderObject>(info) {
  guarded("LmdbReader", info, [&](const Call& call) { reader_ = std::make_unique<LmdbReader>(call.string(0, "path")); });
}

LmdbReader& LmdbReaderObject::reader() const {
  if (!reader_) fail(ErrorCode::Argument, "LmdbReader: a file was used after it was closed");
  return *reader_;
}

Napi::Value LmdbReaderObject::get(const Napi::CallbackInfo& info) {
  return guarded("LmdbReader.get", info, [&](const Call& call) -> Napi::Value {
    const void* data = nullptr;
    size_t size = 0;
    if (!reader().get(bytes_of(call, 0, "key"), &data, &size)) return info.Env().Null();
    const Napi::Value value = to_array(info.Env(), data, size);
    reader().expect_intact();
    return value;
  });
}

Napi::Value LmdbReaderObject::locate(const Napi::CallbackInfo& info) {
  return guarded("LmdbReader.locate", info, [&](const Call& call) -> Napi::Value {
    size_t offset = 0, size = 0;
    if (!reader().locate(bytes_of(call, 0, "key"), &offset, &size)) return info.Env().Null();
    Napi::Array place = Napi::Array::New(info.Env(), 2);
    place.Set(0u, static_cast<double>(offset));
    place.Set(1u, static_cast<double>(size));
    return place;
  });
}

Napi::Value LmdbReaderObject::keys(const Napi::CallbackInfo& info) {
  return guarded("LmdbReader.keys", info, [&](const Call&) -> Napi::Value {
    const std::vector<std::string> keys = reader().keys();
    Napi::Array array = Napi::Array::New(info.Env(), keys.size());
    for (size_t i = 0; i < keys.size(); ++i)
      array.Set(static_cast<uint32_t>(i), to_array(info.Env(), keys[i].data(), keys[i].size()));
    return array;
  });
}

Napi::Value LmdbReaderObject::count(const Napi::CallbackInfo& info) {
  return guarded("LmdbReader.count", info, [&](const Call&) -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(reader().count()));
  });
}

Napi::Value LmdbReaderObject::close(const Napi::CallbackInfo& info) {
  reader_.reset();
  return info.Env().Undefined();
}

void LmdbWriterObject::define(Napi::Env env, Napi::Object exports) {
  exports.Set("LmdbWriter",
              DefineClass(env, "LmdbWriter",
                          {InstanceMethod("put", &LmdbWriterObject::put), InstanceMethod("finish", &LmdbWriterObject::finish),
                           InstanceMethod("close", &LmdbWriterObject::close)}));
}

LmdbWriterObject::LmdbWriterObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<LmdbWriterObject>(info) {
  guarded("LmdbWriter", info, [&](const Call& call) { writer_ = std::make_unique<LmdbWriter>(call.string(0, "path")); });
}

LmdbWriter& LmdbWriterObject::writer() const {
  if (!writer_) fail(ErrorCode::Argument, "LmdbWriter: a file was used after it was closed");
  return *writer_;
}

Napi::Value LmdbWriterObject::put(const Napi::CallbackInfo& info) {
  return guarded("LmdbWriter.put", info, [&](const Call& call) -> Napi::Value {
    writer().put(bytes_of(call, 0, "key"), bytes_of(call, 1, "value"));
    return info.Env().Undefined();
  });
}

Napi::Value LmdbWriterObject::finish(const Napi::CallbackInfo& info) {
  return guarded("LmdbWriter.finish", info, [&](const Call&) -> Napi::Value {
    writer().finish();
    return info.Env().Undefined();
  });
}

Napi::Value LmdbWriterObject::close(const Napi::CallbackInfo& info) {
  writer_.reset();
  return info.Env().Undefined();
}

}  // namespace star
