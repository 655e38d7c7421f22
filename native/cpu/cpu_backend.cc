#include "cpu/cpu_backend.h"

#include <hwy/targets.h>
#include <oneapi/dnnl/dnnl_version.h>

#include <cstring>

#include "core/error.h"
#include "cpu/parallel.h"

namespace star {

CpuBackend::CpuBackend() { thread_count(); }

std::string CpuBackend::description() const {
  return std::to_string(thread_count()) + " threads, oneDNN " + std::to_string(DNNL_VERSION_MAJOR) + "." +
         std::to_string(DNNL_VERSION_MINOR) + "." + std::to_string(DNNL_VERSION_PATCH) + ", vector target " +
         hwy::TargetName(hwy::SupportedTargets() & -hwy::SupportedTargets());
}

namespace {
[[noreturn]] void no_graphs() { fail(ErrorCode::Device, "the CPU records no graphs: run the work itself"); }
}  // namespace

void CpuBackend::begin_capture() { no_graphs(); }
int64_t CpuBackend::end_capture(bool) { no_graphs(); }
void CpuBackend::launch_graph(int64_t) { no_graphs(); }

namespace {
[[noreturn]] void no_collectives() { fail(ErrorCode::Device, "the CPU has no collectives of its own: use a Gloo group"); }
}  // namespace

std::string CpuBackend::collectives_id() { no_collectives(); }
std::unique_ptr<Collectives> CpuBackend::connect(const std::string&, int, int, std::function<void()>) { no_collectives(); }

void CpuBackend::copy_from_host(void* to, const void* from, size_t bytes) { copy(to, from, bytes); }
void CpuBackend::copy_to_host(void* to, const void* from, size_t bytes) { copy(to, from, bytes); }

void CpuBackend::copy(void* to, const void* from, size_t bytes) {
  parallel_for(static_cast<int64_t>(bytes), 1 << 20, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin, static_cast<size_t>(end - begin));
  });
}

}  // namespace star
