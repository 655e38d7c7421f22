#include "core/plugin.h"

#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "core/error.h"
#include "core/registry.h"
#include "system/shared_library.h"

namespace star {

const char* core_abi() { return "star-core-" STAR_CORE_ABI; }

Backend& load_plugin(const std::string& path) {
  // A plugin stays loaded until the process ends: tensors on its device may live as long.
  static std::mutex mutex;
  static auto* loaded = new std::map<void*, Backend*>();
  const std::lock_guard<std::mutex> lock(mutex);

  std::string why;
  void* handle = open_library(path, &why);
  if (handle == nullptr)
    fail(ErrorCode::Device, "the plugin does not load: %s. Build it on this machine with \"npm run build:cuda\"", why.c_str());
  if (const auto known = loaded->find(handle); known != loaded->end()) return *known->second;

  using Abi = const char*();
  using Create = Backend*();
  auto* abi = reinterpret_cast<Abi*>(library_symbol(handle, "star_plugin_abi"));
  auto* create = reinterpret_cast<Create*>(library_symbol(handle, "star_create_backend"));
  if (abi == nullptr || create == nullptr) {
    close_library(handle);
    fail(ErrorCode::Device,
         "%s is no plugin of star-t2i (it has no star_plugin_abi and star_create_backend): give the path of one", path.c_str());
  }
  if (std::strcmp(abi(), core_abi()) != 0) {
    const std::string given = abi();
    close_library(handle);
    fail(ErrorCode::Device,
         "%s was built from other sources (%s) than the addon (%s): build it again with \"npm run build:cuda\"", path.c_str(),
         given.c_str(), core_abi());
  }
  std::unique_ptr<Backend> backend(create());
  Backend* const raw = backend.get();
  register_backend(std::move(backend));
  loaded->emplace(handle, raw);
  return *raw;
}

}  // namespace star
