// The JavaScript classes `LmdbReader` and `LmdbWriter`: handles on one LMDB file each.
#pragma once

#include <napi.h>

#include <memory>

#include "io/lmdb_file.h"

namespace star {

class LmdbReaderObject : public Napi::ObjectWrap<LmdbReaderObject> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit LmdbReaderObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value get(const Napi::CallbackInfo& info);
  Napi::Value locate(const Napi::CallbackInfo& info);
  Napi::Value keys(const Napi::CallbackInfo& info);
  Napi::Value count(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  LmdbReader& reader() const;

  std::unique_ptr<LmdbReader> reader_;
};

class LmdbWriterObject : public Napi::ObjectWrap<LmdbWriterObject> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit LmdbWriterObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value put(const Napi::CallbackInfo& info);
  Napi::Value finish(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  LmdbWriter& writer() const;

  std::unique_ptr<LmdbWriter> writer_;
};

}  // namespace star
