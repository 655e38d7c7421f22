// How much memory this process can still take before the system ends it.
#pragma once

#include <cstddef>
#include <string>

namespace star {

// Bytes; the largest size_t where it is not known. On Linux what the machine can give without swapping (MemAvailable of
// /proc/meminfo) or what the process's cgroup has left, v2 or v1, whichever is less.
size_t available_memory();

// On Linux: the same from another root directory, for tests.
size_t available_memory(const std::string& root);

}  // namespace star
