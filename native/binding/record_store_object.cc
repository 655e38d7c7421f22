#include "binding/record_store_object.h"

#include <vector>

#include "binding/bytes.h"
#include "binding/call.h"
#include "binding/guarded.h"

namespace star {

void RecordStoreObject::define(Napi::Env env, Napi::Object exports) {
  exports.Set("RecordStore",
              DefineClass(env, "RecordStore",
                          {InstanceMethod("get", &RecordStoreObject::get), InstanceMethod("has", &RecordStoreObject::has),
                           InstanceMethod("count", &RecordStoreObject::count), InstanceMethod("add", &RecordStoreObject::add),
                           InstanceMethod("close", &RecordStoreObject::close)}));
}

RecordStoreObject::RecordStoreObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<RecordStoreObject>(info) {
  guarded("RecordStore", info, [&](const Call& call) { store_ = std::make_unique<RecordStore>(call.string(0, "path")); });
}

RecordStore& RecordStoreObject::store() const {
  if (!store_) fail(ErrorCode::Argument, "RecordStore: a file was used after it was closed");
  return *store_;
}

Napi::Value RecordStoreObject::get(const Napi::CallbackInfo& info) {
  return guarded("RecordStore.get", info, [&](const Call& call) -> Napi::Value {
    const auto value = store().get(bytes_of(call, 0, "key"));
    return value ? to_array(info.Env(), value->data(), value->size()) : info.Env().Null();
  });
}

Napi::Value RecordStoreObject::has(const Napi::CallbackInfo& info) {
  return guarded("RecordStore.has", info, [&](const Call& call) -> Napi::Value {
    return Napi::Boolean::New(info.Env(), store().has(bytes_of(call, 0, "key")));
  });
}

Napi::Value RecordStoreObject::count(const Napi::CallbackInfo& info) {
  return guarded("RecordStore.count", info,
                 [&](const Call&) -> Napi::Value { return Napi::Number::New(info.Env(), static_cast<double>(store().count())); });
}

Napi::Value RecordStoreObject::add(const Napi::CallbackInfo& info) {  // (keys, values, limit)
  return guarded("RecordStore.add", info, [&](const Call& call) -> Napi::Value {
    if (!info[0].IsArray() || !info[1].IsArray())
      fail(ErrorCode::Argument, "%s: keys and values must be arrays of Uint8Array", call.op);
    const auto keys = info[0].As<Napi::Array>(), values = info[1].As<Napi::Array>();
    if (keys.Length() != values.Length())
      fail(ErrorCode::Argument, "%s: %u keys were given with %u values", call.op, keys.Length(), values.Length());
    std::vector<RecordStore::Record> records;
    for (uint32_t i = 0; i < keys.Length(); ++i)
      records.emplace_back(bytes_of(call.op, keys.Get(i), "keys"), bytes_of(call.op, values.Get(i), "values"));
    store().add(records, static_cast<uint64_t>(call.integer(2, "limit", 0, int64_t{1} << 53)));
    return info.Env().Undefined();
  });
}

Napi::Value RecordStoreObject::close(const Napi::CallbackInfo& info) {
  store_.reset();
  return info.Env().Undefined();
}

}  // namespace star
