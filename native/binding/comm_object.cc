#include "binding/comm_object.h"

#include "binding/call.h"
#include "binding/environment.h"
#include "binding/guarded.h"
#include "binding/promise_worker.h"

namespace star {

namespace {

// Elements of a tensor of `ratio` times as many, and of the same type.
void expect_multiple(const Call& call, const Tensor& small, const Tensor& large, const char* name, int ratio) {
  call.expect_dtype(large, name, small.dtype);
  if (large.count() != small.count() * ratio)
    call.wrong_shape("%s has shape %s, expected %lld elements: those of each of %d processes", name, large.shape.str().c_str(),
                     static_cast<long long>(small.count() * ratio), ratio);
}

Reduction reduction(const std::string& name) {
  if (name == "sum") return Reduction::Sum;
  if (name == "max") return Reduction::Max;
  if (name == "min") return Reduction::Min;
  fail(ErrorCode::Argument, "allReduce: the operation is \"%s\", expected sum, max or min", name.c_str());
}

// Only the addon makes these objects; the classes can be reached from JavaScript as `constructor` of one.
template <class T>
T& made(const Call& call, const std::shared_ptr<T>& pointer) {
  if (!pointer) fail(ErrorCode::Argument, "%s: this object was not made by the addon", call.op);
  return *pointer;
}

}  // namespace

StoreAddress store_address(const Call& call, size_t first) {
  const int64_t port = call.integer(first + 1, "port", 1, 65535), ports = call.integer(first + 2, "ports", 1, 65536 - port);
  return {call.string(first, "host"), static_cast<int>(port), static_cast<int>(ports), call.string(first + 3, "job")};
}

std::chrono::milliseconds milliseconds(const Call& call, size_t i) {
  return std::chrono::milliseconds(call.integer(i, "milliseconds", 0, int64_t{1} << 40));
}

void WorkObject::define(Napi::Env env) {
  const Napi::Function made =
      DefineClass(env, "Work", {InstanceMethod("done", &WorkObject::done), InstanceMethod("wait", &WorkObject::wait)});
  environment(env).work_class = Napi::Persistent(made);
}

Napi::Value WorkObject::wrap(Napi::Env env, std::shared_ptr<Work> work) {
  const Napi::Object object = environment(env).work_class.New({});
  Unwrap(object)->work_ = std::move(work);
  return object;
}

Napi::Value WorkObject::done(const Napi::CallbackInfo& info) {
  return guarded("Work.done", info,
                 [&](const Call& call) -> Napi::Value { return Napi::Boolean::New(info.Env(), made(call, work_).done()); });
}

Napi::Value WorkObject::wait(const Napi::CallbackInfo& info) {
  return guarded("Work.wait", info, [&](const Call& call) -> Napi::Value {
    made(call, work_).wait();
    return info.Env().Undefined();
  });
}

void ProcessGroupObject::define(Napi::Env env) {
  const Napi::Function made = DefineClass(
      env, "ProcessGroup",
      {InstanceMethod("engine", &ProcessGroupObject::engine), InstanceMethod("allReduce", &ProcessGroupObject::all_reduce),
       InstanceMethod("reduceScatter", &ProcessGroupObject::reduce_scatter),
       InstanceMethod("allGather", &ProcessGroupObject::all_gather), InstanceMethod("broadcast", &ProcessGroupObject::broadcast),
       InstanceMethod("barrier", &ProcessGroupObject::barrier), InstanceMethod("beginBatch", &ProcessGroupObject::begin_batch),
       InstanceMethod("endBatch", &ProcessGroupObject::end_batch), InstanceMethod("close", &ProcessGroupObject::close)});
  environment(env).group_class = Napi::Persistent(made);
}

Napi::Value ProcessGroupObject::wrap(Napi::Env env, std::shared_ptr<ProcessGroup> group) {
  const Napi::Object object = environment(env).group_class.New({});
  Unwrap(object)->group_ = std::move(group);
  return object;
}

Napi::Value ProcessGroupObject::engine(const Napi::CallbackInfo& info) {
  return guarded("engine", info,
                 [&](const Call& call) -> Napi::Value { return Napi::String::New(info.Env(), made(call, group_).engine()); });
}

Napi::Value ProcessGroupObject::all_reduce(const Napi::CallbackInfo& info) {  // (tensor, op): in place
  return guarded("allReduce", info, [&](const Call& call) {
    return WorkObject::wrap(info.Env(),
                            made(call, group_).all_reduce(call.tensor(0, "tensor"), reduction(call.string(1, "operation"))));
  });
}

Napi::Value ProcessGroupObject::reduce_scatter(const Napi::CallbackInfo& info) {  // (out (n), in (size·n))
  return guarded("reduceScatter", info, [&](const Call& call) {
    const Tensor &out = call.tensor(0, "out"), &in = call.tensor(1, "in");
    expect_multiple(call, out, in, "in", made(call, group_).size());
    return WorkObject::wrap(info.Env(), group_->reduce_scatter(out, in));
  });
}

Napi::Value ProcessGroupObject::all_gather(const Napi::CallbackInfo& info) {  // (out (size·n), in (n))
  return guarded("allGather", info, [&](const Call& call) {
    const Tensor &out = call.tensor(0, "out"), &in = call.tensor(1, "in");
    expect_multiple(call, in, out, "out", made(call, group_).size());
    return WorkObject::wrap(info.Env(), group_->all_gather(out, in));
  });
}

Napi::Value ProcessGroupObject::broadcast(const Napi::CallbackInfo& info) {  // (tensor, root): in place
  return guarded("broadcast", info, [&](const Call& call) {
    const int64_t root = call.integer(1, "root");
    if (root < 0 || root >= made(call, group_).size())
      fail(ErrorCode::Argument, "broadcast: root is %lld, expected a rank below %d", static_cast<long long>(root),
           group_->size());
    return WorkObject::wrap(info.Env(), group_->broadcast(call.tensor(0, "tensor"), static_cast<int>(root)));
  });
}

Napi::Value ProcessGroupObject::barrier(const Napi::CallbackInfo& info) {
  return guarded("barrier", info, [&](const Call& call) { return WorkObject::wrap(info.Env(), made(call, group_).barrier()); });
}

Napi::Value ProcessGroupObject::begin_batch(const Napi::CallbackInfo& info) {
  return guarded("beginBatch", info, [&](const Call& call) -> Napi::Value {
    made(call, group_).begin_batch();
    return info.Env().Undefined();
  });
}

Napi::Value ProcessGroupObject::end_batch(const Napi::CallbackInfo& info) {
  return guarded("endBatch", info, [&](const Call& call) -> Napi::Value {
    made(call, group_).end_batch();
    return info.Env().Undefined();
  });
}

Napi::Value ProcessGroupObject::close(const Napi::CallbackInfo& info) {
  if (group_) group_->close();
  return info.Env().Undefined();
}

void StoreObject::define(Napi::Env env, Napi::Object exports) {
  exports.Set("StoreClient", DefineClass(env, "StoreClient",
                                         {InstanceMethod("set", &StoreObject::set), InstanceMethod("add", &StoreObject::add),
                                          InstanceMethod("get", &StoreObject::get)}));
}

StoreObject::StoreObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<StoreObject>(info) {
  guarded("StoreClient", info, [&](const Call& call) {  // (host, port, ports, job, milliseconds)
    const StoreAddress address = store_address(call, 0);
    store_ = std::make_shared<StoreClient>(address, StoreClient::Clock::now() + milliseconds(call, 4));
  });
}

Napi::Value StoreObject::set(const Napi::CallbackInfo& info) {  // (key, value)
  return guarded("Store.set", info, [&](const Call& call) -> Napi::Value {
    store_->set(call.string(0, "key"), call.string(1, "value"));
    return info.Env().Undefined();
  });
}

Napi::Value StoreObject::add(const Napi::CallbackInfo& info) {  // (key, amount) → sum
  return guarded("Store.add", info, [&](const Call& call) -> Napi::Value {
    const int64_t sum = store_->add(call.string(0, "key"), call.integer(1, "amount"));
    return Napi::Number::New(info.Env(), static_cast<double>(sum));
  });
}

Napi::Value StoreObject::get(const Napi::CallbackInfo& info) {  // (key, milliseconds) → Promise of the value, or null
  return guarded("Store.get", info, [&](const Call& call) -> Napi::Value {
    auto found = std::make_shared<std::optional<std::string>>();
    // A connection of its own: the shared one answers others meanwhile.
    return PromiseWorker::start(
        info.Env(), "Store.get",
        [found, address = store_->address(), key = call.string(0, "key"), time = milliseconds(call, 1)] {
          *found = StoreClient(address, StoreClient::Clock::now() + std::chrono::seconds(10)).get(key, time);
        },
        [found](Napi::Env env) -> Napi::Value {
          return *found ? Napi::String::New(env, **found).As<Napi::Value>() : env.Null();
        });
  });
}

}  // namespace star
