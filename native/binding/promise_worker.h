// Native work on a thread of libuv's pool whose end settles a promise.
#pragma once

#include <napi.h>

#include <functional>
#include <string>

#include "binding/call.h"

namespace star {

class PromiseWorker : public Napi::AsyncWorker {
 public:
  // Runs `work` beside JavaScript; the promise gets what `result` makes of it, or the error that it threw.
  static Napi::Value start(Napi::Env env, const char* name, std::function<void()> work,
                           std::function<Napi::Value(Napi::Env)> result) {
    auto* worker = new PromiseWorker(env, name, std::move(work), std::move(result));
    const Napi::Promise promise = worker->deferred_.Promise();
    worker->Queue();
    return promise;
  }

  void Execute() override {
    try {
      work_();
    } catch (const Error& error) {
      code_ = error_code_name(error.code());
      SetError(error.what());
    } catch (const std::exception& error) {
      code_ = "ERR_INTERNAL";
      SetError(error.what());
    }
  }
  void OnOK() override { deferred_.Resolve(result_(Env())); }
  void OnError(const Napi::Error& error) override { deferred_.Reject(to_js_error(Env(), code_, error.Message()).Value()); }

 private:
  PromiseWorker(Napi::Env env, const char* name, std::function<void()> work, std::function<Napi::Value(Napi::Env)> result)
      : Napi::AsyncWorker(env, name),
        deferred_(Napi::Promise::Deferred::New(env)),
        work_(std::move(work)),
        result_(std::move(result)) {}

  Napi::Promise::Deferred deferred_;
  const std::function<void()> work_;
  const std::function<Napi::Value(Napi::Env)> result_;
  const char* code_ = "ERR_INTERNAL";
};

}  // namespace star
