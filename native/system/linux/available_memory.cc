#include "system/available_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>

namespace star {

namespace {

constexpr size_t kUnknown = std::numeric_limits<size_t>::max();

// The number in a file that holds one; kUnknown for "max", and where there is none.
size_t number_in(const std::string& path) {
  std::ifstream file(path);
  size_t value = 0;
  return file >> value ? value : kUnknown;
}

// The number that follows a word in a file of words and numbers.
size_t number_after(const std::string& path, const std::string& word) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream parts(line);
    std::string name;
    size_t value = 0;
    if (parts >> name >> value && name == word) return value;
  }
  return kUnknown;
}

// What a cgroup's limit leaves: pages of files count as used but are given up first.
size_t left_of(const std::string& folder, const char* limit_file, const char* used_file, const char* file_pages) {
  const size_t limit = number_in(folder + limit_file), used = number_in(folder + used_file);
  if (limit == kUnknown || used == kUnknown) return kUnknown;
  const size_t pages = number_after(folder + "memory.stat", file_pages);
  const size_t kept = used - std::min(used, pages == kUnknown ? 0 : pages);
  return limit - std::min(limit, kept);
}

}  // namespace

size_t available_memory(const std::string& root) {
  size_t least = kUnknown;
  const size_t kilobytes = number_after(root + "/proc/meminfo", "MemAvailable:");
  if (kilobytes != kUnknown) least = kilobytes * 1024;
  std::ifstream groups(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {  // "0::/path" for v2, "4:memory:/path" for v1
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty(), v1 = ("," + controllers + ",").find(",memory,") != std::string::npos;
    if (!v1 && !v2) continue;
    const std::string mount = root + (v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory");
    // A limit of a group above holds too. Inside a container the path may be the host's and not exist; the mount's root does.
    for (std::string path = line.substr(second + 1);; path.resize(path.rfind('/'))) {
      const std::string folder = mount + (path == "/" ? "" : path) + "/";
      least = std::min(least, v2 ? left_of(folder, "memory.max", "memory.current", "inactive_file")
                                 : left_of(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"));
      if (path.rfind('/') == std::string::npos) break;
    }
  }
  return least;
}

size_t available_memory() { return available_memory(""); }

}  // namespace star
