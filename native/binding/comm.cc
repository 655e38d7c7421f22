// Process groups.
#include "binding/call.h"
#include "binding/comm_object.h"
#include "binding/families.h"
#include "binding/promise_worker.h"
#include "comm/device_group.h"
#include "comm/gloo_group.h"
#include "core/registry.h"

namespace star {

namespace {

// (device, localRank, rank, size, host, port, ports, job, milliseconds) → Promise of a ProcessGroup
Napi::Value connect_group(const Call& call) {
  Backend& device = backend(call.string(0, "device"));
  constexpr int64_t kMostRanks = 1 << 20;
  GroupOptions options;
  const auto local_rank = static_cast<int>(call.integer(1, "localRank", 0, kMostRanks - 1));
  options.size = static_cast<int>(call.integer(3, "size", 1, kMostRanks));
  options.rank = static_cast<int>(call.integer(2, "rank", 0, options.size - 1));
  options.store = store_address(call, 4);
  options.timeout = milliseconds(call, 8);
  device.select(local_rank);
  auto group = std::make_shared<std::shared_ptr<ProcessGroup>>();
  return PromiseWorker::start(
      call.info.Env(), call.op,
      [group, options, &device] {
        *group = device.collectives_engine() == nullptr ? make_gloo_group(options) : make_device_group(device, options);
      },
      [group](Napi::Env env) { return ProcessGroupObject::wrap(env, *group); });
}

}  // namespace

void define_comm(Napi::Object exports) {
  WorkObject::define(exports.Env());
  ProcessGroupObject::define(exports.Env());
  StoreObject::define(exports.Env(), exports);
  define_op(exports, "singleGroup",
            [](const Call& call) -> Napi::Value { return ProcessGroupObject::wrap(call.info.Env(), make_single_group()); });
  define_op(exports, "connectGroup", connect_group);
}

}  // namespace star
