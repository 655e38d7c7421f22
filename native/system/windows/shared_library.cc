#include "system/shared_library.h"

#include "system/windows/windows.h"

namespace star {

void* open_library(const std::string& path, std::string* why) {
  void* const library = reinterpret_cast<void*>(LoadLibraryExW(wide(path).c_str(), nullptr, 0));
  if (!library) *why = path + ": Windows error " + std::to_string(GetLastError());
  return library;
}

void* library_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(reinterpret_cast<HMODULE>(library), name));
}

void close_library(void* library) { FreeLibrary(reinterpret_cast<HMODULE>(library)); }

}  // namespace star
