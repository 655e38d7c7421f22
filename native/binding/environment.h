// What the addon keeps for each JavaScript environment that loads it: the main thread and every worker thread have their own.
#pragma once

#include <napi.h>

namespace star {

struct Environment {
  Napi::FunctionReference error_class;   // StarError
  Napi::FunctionReference tensor_class;  // NativeTensor
  Napi::FunctionReference work_class;    // Work
  Napi::FunctionReference group_class;   // ProcessGroup
};

inline Environment& environment(Napi::Env env) {
  if (auto* existing = env.GetInstanceData<Environment>()) return *existing;
  auto* fresh = new Environment();
  env.SetInstanceData(fresh);
  return *fresh;
}

}  // namespace star
