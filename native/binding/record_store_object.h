// The JavaScript class `RecordStore`: a handle on the records of one file (io/record_store.h).
#pragma once

#include <napi.h>

#include <memory>

#include "io/record_store.h"

namespace star {

class RecordStoreObject : public Napi::ObjectWrap<RecordStoreObject> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit RecordStoreObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value get(const Napi::CallbackInfo& info);
  Napi::Value has(const Napi::CallbackInfo& info);
  Napi::Value count(const Napi::CallbackInfo& info);
  Napi::Value add(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  RecordStore& store() const;

  std::unique_ptr<RecordStore> store_;
};

}  // namespace star
