// The JavaScript classes `ProcessGroup`, `Work` and `StoreClient`.
#pragma once

#include <napi.h>

#include <chrono>
#include <memory>

#include "binding/call.h"
#include "comm/process_group.h"
#include "comm/store_client.h"

namespace star {

// Arguments host, port, ports and job from `first`, and a time in milliseconds.
StoreAddress store_address(const Call& call, size_t first);
std::chrono::milliseconds milliseconds(const Call& call, size_t i);

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
