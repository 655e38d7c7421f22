#include "system/shared_library.h"

#include <dlfcn.h>

namespace star {

void* open_library(const std::string& path, std::string* why) {
  void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) *why = ::dlerror();
  return library;
}

void* library_symbol(void* library, const char* name) { return ::dlsym(library, name); }

void close_library(void* library) { ::dlclose(library); }

}  // namespace star
