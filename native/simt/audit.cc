#include "simt/audit.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "simt/memory.h"

namespace star::simt {

namespace {

// Shapes of a kernel that are tried beside those whose pointers are aligned in a new way.
constexpr size_t kShapesTried = 16;
// Bytes of a kernel's parameters from compute capability 7.0 and CUDA 12.1 on (CUDA C++ Programming Guide, "Function
// Parameters").
constexpr size_t kMostParameters = 32764;

struct Tried {
  std::set<std::vector<uint8_t>> alignments;
  std::set<std::vector<uint64_t>> shapes;
};

std::mutex mutex;
std::map<const void*, Tried>& tried() {
  static auto* kernels = new std::map<const void*, Tried>;
  return *kernels;
}

// True when the launch is unlike those that were tried.
bool is_new(const Kernel& kernel, dim3 grid, dim3 block, size_t dynamic_bytes, const std::vector<uint8_t>& alignments) {
  const std::lock_guard lock(mutex);
  Tried& known = tried()[kernel.address];
  const bool aligned_anew = known.alignments.insert(alignments).second;
  if (known.shapes.size() >= kShapesTried) return aligned_anew;
  return known.shapes.insert({grid.x, grid.y, grid.z, block.x, block.y, block.z, dynamic_bytes}).second || aligned_anew;
}

}  // namespace

bool audit_enabled() {
  const char* value = std::getenv("STAR_SIMT_AUDIT");
  return value && std::strcmp(value, "1") == 0;
}

std::string audit_launch(const Kernel& kernel, dim3 grid, dim3 block, size_t dynamic_bytes, size_t shared_limit) {
  const auto problem = [&](const std::string& text) { return "kernel " + kernel_name(kernel.address) + ", " + text; };
  if (kernel.call_bytes > kMostParameters)
    return problem("its parameters take " + std::to_string(kernel.call_bytes) + " bytes of " + std::to_string(kMostParameters));
  std::vector<uint8_t> alignments;
  DeviceMemory& memory = DeviceMemory::instance();
  for (const void* pointer : kernel.pointers) {
    // The end of an allocation is the place of an empty part.
    if (pointer && !memory.contains(pointer, 0))
      return problem("a pointer among its parameters is to memory that was given back or never allocated");
    alignments.push_back(pointer ? static_cast<uint8_t>(reinterpret_cast<uintptr_t>(pointer) % 16) : UINT8_MAX);
  }
  if (!is_new(kernel, grid, block, dynamic_bytes, alignments) && static_cast<uint64_t>(grid.x) * grid.y * grid.z > 1) return "";
  Grid ends(kernel, grid, block, dynamic_bytes, shared_limit, {.one_thread = true, .ends_only = true});
  return ends.run() ? "" : ends.failure();
}

Counts& counts() {
  static Counts all;
  return all;
}

}  // namespace star::simt
