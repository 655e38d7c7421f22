// The addon: registers the backends that are compiled in and defines every family's functions.
#include <memory>

#include "binding/call.h"
#include "binding/families.h"
#include "binding/tensor_object.h"
#include "core/plugin.h"
#include "core/registry.h"
#include "cpu/cpu_backend.h"
#include "cpu/isa.h"
#include "threads/team.h"

namespace star {

namespace {

void define_devices(Napi::Object exports) {
  define_op(exports, "setErrorClass", [](const Call& call) -> Napi::Value {
    if (!call.info[0].IsFunction()) fail(ErrorCode::Argument, "setErrorClass: expected a class");
    set_error_class(call.info.Env(), call.info[0].As<Napi::Function>());
    return call.info.Env().Undefined();
  });
  define_op(exports, "threadCount", [](const Call& call) -> Napi::Value {  // of the CPU ops
    return Napi::Number::New(call.info.Env(), thread_count());
  });
  define_op(exports, "multipliesBf16", [](const Call& call) -> Napi::Value {  // the CPU ops, faster than f32
    return Napi::Boolean::New(call.info.Env(), multiplies_bf16());
  });
  define_op(exports, "devices", [](const Call& call) -> Napi::Value {
    Napi::Env env = call.info.Env();
    Napi::Array list = Napi::Array::New(env);
    for (Backend* backend : backends()) {
      Napi::Object entry = Napi::Object::New(env);
      std::string reason;
      const bool available = backend->available(&reason);
      entry.Set("name", backend->name());
      entry.Set("available", available);
      entry.Set("detail", available ? backend->description() : reason);
      list.Set(list.Length(), entry);
    }
    return list;
  });
  define_op(exports, "loadPlugin", [](const Call& call) -> Napi::Value {  // (path) → name of its device
    return Napi::String::New(call.info.Env(), load_plugin(call.string(0, "path")).name());
  });
  define_op(exports, "empty", [](const Call& call) -> Napi::Value {
    return call.wrap(
        Tensor::empty(backend(call.string(2, "device")), call.shape(0, "shape"), dtype_from_name(call.string(1, "dtype"))));
  });
  define_op(exports, "copy", [](const Call& call) -> Napi::Value {  // copy(to, from): same shape, any two devices
    const Tensor& to = call.tensor_anywhere(0, "to");
    const Tensor& from = call.tensor_anywhere(1, "from");
    const auto lock_to = lock_device(to.backend()), lock_from = lock_device(from.backend());
    call.expect_shape(from, "from", to.shape);
    if (&to.backend() == &from.backend()) {
      if (to.dtype == from.dtype)
        to.backend().copy(to.data(), from.data(), to.bytes());
      else
        to.backend().cast({to.ref(), from.ref(), to.count()});
    } else {
      call.expect_dtype(from, "from", to.dtype);
      std::vector<char> host(to.bytes());
      from.backend().copy_to_host(host.data(), from.data(), from.bytes());
      to.backend().copy_from_host(to.data(), host.data(), to.bytes());
    }
    return call.info.Env().Undefined();
  });
  define_op(exports, "synchronize", [](const Call& call) -> Napi::Value {
    Backend& device = backend(call.string(0, "device"));
    const auto lock = lock_device(device);
    device.synchronize();
    return call.info.Env().Undefined();
  });
  define_op(exports, "canCapture", [](const Call& call) -> Napi::Value {
    return Napi::Boolean::New(call.info.Env(), backend(call.string(0, "device")).can_capture());
  });
  define_op(exports, "beginCapture", [](const Call& call) -> Napi::Value {
    Backend& device = backend(call.string(0, "device"));
    auto lock = lock_device(device);
    device.begin_capture();
    keep_for_recording(device, std::move(lock));
    return call.info.Env().Undefined();
  });
  define_op(exports, "endCapture", [](const Call& call) -> Napi::Value {  // (device, keep) → number of the graph
    Backend& device = backend(call.string(0, "device"));
    const bool keep = call.boolean(1, "keep");
    const auto lock = take_back_from_recording(device);
    return Napi::Number::New(call.info.Env(), static_cast<double>(device.end_capture(keep)));
  });
  define_op(exports, "launchGraph", [](const Call& call) -> Napi::Value {
    Backend& device = backend(call.string(0, "device"));
    const auto lock = lock_device(device);
    device.launch_graph(call.integer(1, "graph"));
    return call.info.Env().Undefined();
  });
  define_op(exports, "destroyGraph", [](const Call& call) -> Napi::Value {
    Backend& device = backend(call.string(0, "device"));
    const auto lock = lock_device(device);
    device.destroy_graph(call.integer(1, "graph"));
    return call.info.Env().Undefined();
  });
  define_op(exports, "memory", [](const Call& call) -> Napi::Value {
    const MemoryStats stats = backend(call.string(0, "device")).memory();
    Napi::Object object = Napi::Object::New(call.info.Env());
    object.Set("liveBytes", static_cast<double>(stats.live_bytes));
    object.Set("liveBlocks", static_cast<double>(stats.live_blocks));
    object.Set("peakBytes", static_cast<double>(stats.peak_bytes));
    object.Set("cachedBytes", static_cast<double>(stats.cached_bytes));
    return object;
  });
  define_op(exports, "resetPeakMemory", [](const Call& call) -> Napi::Value {
    backend(call.string(0, "device")).reset_peak_memory();
    return call.info.Env().Undefined();
  });
  define_op(exports, "trimMemory", [](const Call& call) -> Napi::Value {
    backend(call.string(0, "device")).trim_memory();
    return call.info.Env().Undefined();
  });
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  try {
    if (backends().empty()) register_backend(std::make_unique<CpuBackend>());
  } catch (const Error& error) {
    throw Napi::Error::New(env, std::string(error_code_name(error.code())) + ": " + error.what());
  }
  TensorObject::define(env, exports);
  define_devices(exports);
  define_matmul(exports);
  define_int8(exports);
  define_conv(exports);
  define_resample(exports);
  define_elementwise(exports);
  define_reduce(exports);
  define_layout(exports);
  define_random(exports);
  define_norm(exports);
  define_attention(exports);
  define_quantize(exports);
  define_rows(exports);
  define_sampling(exports);
  define_loss(exports);
  define_optim(exports);
  define_io(exports);
  define_comm(exports);
  return exports;
}

}  // namespace

}  // namespace star

Napi::Object star_initialise(Napi::Env env, Napi::Object exports) { return star::initialise(env, exports); }
NODE_API_MODULE(star, star_initialise)
