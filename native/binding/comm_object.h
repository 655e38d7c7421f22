// The JavaScript classes `ProcessGroup`, `Work` and `StoreClient`.
#pragma once

#include <napi.h>

#include <memory>

#include "comm/process_group.h"
#include "comm/store_client.h"

namespace star {

class WorkObject : public Napi::ObjectWrap<WorkObject> {
 public:
  static void define(Napi::Env env);
  static Napi::Value wrap(Napi::Env env, std::shared_ptr<Work> work);
  explicit WorkObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<WorkObject>(info) {}

 private:
  Napi::Value done(const Napi::CallbackInfo& info);
  Napi::Value wait(const Napi::CallbackInfo& info);

  std::shared_ptr<Work> work_;
};

class ProcessGroupObject : public Napi::ObjectWrap<ProcessGroupObject> {
 public:
  static void define(Napi::Env env);
  static Napi::Value wrap(Napi::Env env, std::shared_ptr<ProcessGroup> group);
  explicit ProcessGroupObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ProcessGroupObject>(info) {}

 private:
  Napi::Value engine(const Napi::CallbackInfo& info);
  Napi::Value all_reduce(const Napi::CallbackInfo& info);
  Napi::Value reduce_scatter(const Napi::CallbackInfo& info);
  Napi::Value all_gather(const Napi::CallbackInfo& info);
  Napi::Value broadcast(const Napi::CallbackInfo& info);
  Napi::Value barrier(const Napi::CallbackInfo& info);
  Napi::Value begin_batch(const Napi::CallbackInfo& info);
  Napi::Value end_batch(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  std::shared_ptr<ProcessGroup> group_;
};

class StoreObject : public Napi::ObjectWrap<StoreObject> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit StoreObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value set(const Napi::CallbackInfo& info);
  Napi::Value add(const Napi::CallbackInfo& info);
  Napi::Value get(const Napi::CallbackInfo& info);

  std::shared_ptr<StoreClient> store_;
};

}  // namespace star
