// Shared libraries that are opened at run time.
#pragma once

#include <string>

namespace star {

// Opens a library with symbols of its own; nullptr with the system's reason in `why` where it does not load. The same file gives
// the same handle, and is closed as often as it was opened.
void* open_library(const std::string& path, std::string* why);
void* library_symbol(void* library, const char* name);  // nullptr where there is none
void close_library(void* library);

}  // namespace star
