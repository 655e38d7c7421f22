// Backends in shared libraries of their own (star_cuda.so), loaded when somebody asks for their device.
#pragma once

#include <string>

#include "core/backend.h"

namespace star {

// Loads the plugin at `path`, registers its backend and returns it; the one it gave before if it was loaded already.
// Throws ERR_DEVICE with the linker's words when the file does not load, is no plugin, or was built from other headers.
Backend& load_plugin(const std::string& path);

// A digest of native/core's headers, which addon and plugin must share: the order of a class's functions is part of it.
const char* core_abi();

}  // namespace star

// Stands once in a plugin: what load_plugin calls. `make` creates the backend, which the caller owns.
#define STAR_PLUGIN(make)                                                                                      \
  extern "C" __attribute__((visibility("default"))) const char* star_plugin_abi() { return star::core_abi(); } \
  extern "C" __attribute__((visibility("default"))) star::Backend* star_create_backend() { return make; }
