// How much memory this process can still take before the system ends it.
#pragma once

#include <cstddef>
#include <string>

namespace star {

// Bytes: what the machine can give without swapping (MemAvailable of /proc/meminfo) or what the process's cgroup has left, v2 or
// v1, whichever is less. The largest size_t where neither is known.
size_t available_memory();

// The same from another root directory, for tests.
size_t available_memory(const std::string& root);

}  // namespace star
