#include "simt/api.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "simt/audit.h"
#include "simt/check.h"
#include "simt/grid.h"
#include "simt/machine.h"
#include "simt/memory.h"
#include "simt/stream.h"

namespace star::simt {

namespace {

thread_local cudaError_t last_error = cudaSuccess;
thread_local std::string last_failure;

constexpr size_t kSharedDefault = 48 << 10;
// What a multiprocessor has is a KiB more than a block may take, which the system keeps for itself.
constexpr size_t kSharedOfSystem = 1 << 10;
constexpr int kMultiprocessors = 4;  // few, so that kernels that share work among them go round more than once

std::mutex attributes_mutex;
std::map<const void*, size_t>& dynamic_limits() {
  static auto* limits = new std::map<const void*, size_t>;
  return *limits;
}

cudaError_t run(const Kernel& kernel, dim3 grid, dim3 block, size_t dynamic_bytes, size_t shared_limit) {
  std::string failure;
  if (audit_enabled()) {
    failure = audit_launch(kernel, grid, block, dynamic_bytes, shared_limit);
  } else if (checks_enabled()) {
    failure = run_checked(kernel, grid, block, dynamic_bytes, shared_limit);
  } else {
    Grid all(kernel, grid, block, dynamic_bytes, shared_limit, {});
    if (!all.run()) failure = all.failure();
  }
  return failure.empty() ? cudaSuccess : report_failure(failure);
}

}  // namespace

cudaError_t report(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t report_failure(const std::string& text) {
  last_failure = text;
  return report(cudaErrorLaunchFailure);
}

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, std::shared_ptr<const void> call, size_t call_bytes,
                   std::vector<const void*> pointers, void (*invoke)(const void* call)) {
  const dim3 grid = config.gridDim, block = config.blockDim;
  if (config.numAttrs != 0) return report(cudaErrorNotSupported);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535 || block.x == 0 ||
      block.y == 0 || block.z == 0 || block.z > 64 || static_cast<uint64_t>(block.x) * block.y * block.z > 1024)
    return report(cudaErrorInvalidConfiguration);
  size_t limit = kSharedDefault;
  {
    const std::lock_guard lock(attributes_mutex);
    const auto it = dynamic_limits().find(kernel);
    if (it != dynamic_limits().end()) limit = std::max(limit, it->second);
  }
  if (config.dynamicSmemBytes > limit) return report(cudaErrorInvalidValue);
  // Beside the dynamic memory of a kernel that asked for more than 48 KiB there may be static memory up to the device's limit.
  const size_t shared_limit = limit > kSharedDefault ? Machine::from_environment().shared_optin() : kSharedDefault;
  ++counts().launches;
  return submit(config.stream, [=, bytes = config.dynamicSmemBytes, call = std::move(call), pointers = std::move(pointers)] {
    return run({invoke, call.get(), call_bytes, kernel, pointers}, grid, block, bytes, shared_limit);
  });
}

}  // namespace star::simt

using star::simt::report;

#define STAR_SIMT_ERRORS(X)                                                                       \
  X(cudaSuccess, "no error")                                                                      \
  X(cudaErrorInvalidValue, "invalid argument")                                                    \
  X(cudaErrorMemoryAllocation, "out of memory")                                                   \
  X(cudaErrorInvalidConfiguration, "invalid configuration argument")                              \
  X(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version")  \
  X(cudaErrorNoDevice, "no CUDA-capable device is detected")                                      \
  X(cudaErrorInvalidDevice, "invalid device ordinal")                                             \
  X(cudaErrorInvalidResourceHandle, "invalid resource handle")                                    \
  X(cudaErrorNotReady, "device not ready")                                                        \
  X(cudaErrorLaunchFailure, star::simt::last_failure.c_str())                                     \
  X(cudaErrorNotSupported, "operation not supported")                                             \
  X(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing")        \
  X(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture") \
  X(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream")

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define X(name, text) \
  case name: return #name;
    STAR_SIMT_ERRORS(X)
#undef X
  }
  return "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
#define X(name, text) \
  case name: return text;
    STAR_SIMT_ERRORS(X)
#undef X
  }
  return "unrecognized error code";
}
cudaError_t cudaPeekAtLastError() { return star::simt::last_error; }
cudaError_t cudaGetLastError() { return std::exchange(star::simt::last_error, cudaSuccess); }

cudaError_t cudaGetDeviceCount(int* count) {
  const auto machine = star::simt::Machine::from_environment();
  *count = machine.devices;
  if (machine.driver < CUDART_VERSION / 1000 * 1000) return report(cudaErrorInsufficientDriver);
  return report(machine.devices > 0 ? cudaSuccess : cudaErrorNoDevice);
}

namespace star::simt {
namespace {
thread_local int current_device = 0;
bool is_device(int device) { return device >= 0 && device < Machine::from_environment().devices; }
}  // namespace
}  // namespace star::simt

cudaError_t cudaGetDevice(int* device) {
  *device = star::simt::current_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (!star::simt::is_device(device)) return report(cudaErrorInvalidDevice);
  star::simt::current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (!star::simt::is_device(device)) return report(cudaErrorInvalidDevice);
  *properties = {};
  ++star::simt::counts().property_calls;
  const auto machine = star::simt::Machine::from_environment();
  std::snprintf(properties->name, sizeof properties->name, "SIMT on the CPU");
  size_t free = 0;
  cudaMemGetInfo(&free, &properties->totalGlobalMem);
  properties->sharedMemPerBlock = star::simt::kSharedDefault;
  properties->sharedMemPerBlockOptin = machine.shared_optin();
  properties->sharedMemPerMultiprocessor = machine.shared_optin() + star::simt::kSharedOfSystem;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->major = machine.capability / 10;
  properties->minor = machine.capability % 10;
  properties->multiProcessorCount = star::simt::kMultiprocessors;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->l2CacheSize = 40 << 20;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  if (const cudaError_t error = cudaGetDeviceProperties(&p, device); error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = static_cast<int>(p.sharedMemPerBlock); break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(p.sharedMemPerBlockOptin); break;
    default: return report(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) {
  *version = star::simt::Machine::from_environment().driver;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;  // a hint
  if (value < 0 || static_cast<size_t>(value) > star::simt::Machine::from_environment().shared_optin())
    return report(cudaErrorInvalidValue);
  const std::lock_guard lock(star::simt::attributes_mutex);
  star::simt::dynamic_limits()[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}
