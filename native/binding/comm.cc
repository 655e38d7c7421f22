// Process groups.
#include "binding/call.h"
#include "binding/comm_object.h"
#include "binding/families.h"
#include "binding/promise_worker.h"
#include "comm/gloo_group.h"

namespace star {

namespace {

// (rank, size, host, port, ports, job, milliseconds) → Promise of a ProcessGroup
Napi::Value connect_gloo(const Call& call) {
  GroupOptions options;
  options.rank = static_cast<int>(call.integer(0, "rank"));
  options.size = static_cast<int>(call.integer(1, "size"));
  options.store = {call.string(2, "host"), static_cast<int>(call.integer(3, "port")), static_cast<int>(call.integer(4, "ports")),
                   call.string(5, "job")};
  options.timeout = std::chrono::milliseconds(call.integer(6, "milliseconds"));
  auto group = std::make_shared<std::shared_ptr<ProcessGroup>>();
  return PromiseWorker::start(
      call.info.Env(), call.op, [group, options] { *group = make_gloo_group(options); },
      [group](Napi::Env env) { return ProcessGroupObject::wrap(env, *group); });
}

}  // namespace

void define_comm(Napi::Object exports) {
  WorkObject::define(exports.Env());
  ProcessGroupObject::define(exports.Env());
  StoreObject::define(exports.Env(), exports);
  define_op(exports, "singleGroup",
            [](const Call& call) -> Napi::Value { return ProcessGroupObject::wrap(call.info.Env(), make_single_group()); });
  define_op(exports, "connectGloo", connect_gloo);
}

}  // namespace star
