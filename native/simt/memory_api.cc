// Memory calls of the runtime API.
#include <sys/sysinfo.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "simt/audit.h"
#include "simt/check.h"
#include "simt/machine.h"
#include "simt/memory.h"
#include "simt/stream.h"

using star::simt::audit_enabled;
using star::simt::checks_enabled;
using star::simt::DeviceMemory;
using star::simt::Machine;
using star::simt::report;
using star::simt::submit;

cudaError_t cudaMalloc(void** data, size_t bytes) {
  *data = nullptr;
  if (bytes == 0) return cudaSuccess;
  *data = DeviceMemory::instance().allocate(bytes, checks_enabled());
  return report(*data ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* data) {
  return report(!data || DeviceMemory::instance().release(data) ? cudaSuccess : cudaErrorInvalidValue);
}

namespace {
std::atomic<uint64_t> graph_memory{0};
}

// While the stream is capturing, memory belongs to the graph: it keeps its address at every launch.
cudaError_t cudaMallocAsync(void** data, size_t bytes, cudaStream_t stream) {
  const cudaError_t error = cudaMalloc(data, bytes);
  if (error != cudaSuccess || !*data || !stream || !stream->capturing) return error;
  graph_memory += bytes;
  stream->captured.memory.emplace_back(*data, [bytes](void* owned) {
    DeviceMemory::instance().release(owned);
    graph_memory -= bytes;
  });
  return error;
}
cudaError_t cudaFreeAsync(void* data, cudaStream_t stream) {
  if (!stream || !stream->capturing) return cudaFree(data);
  for (const auto& memory : stream->captured.memory)
    if (memory.get() == data) return cudaSuccess;
  return report(cudaErrorInvalidValue);
}

cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) { return cudaMallocHost(data, bytes); }
cudaError_t cudaMallocHost(void** data, size_t bytes) {
  *data = std::malloc(bytes);
  return report(*data || bytes == 0 ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void* data) {
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  DeviceMemory& memory = DeviceMemory::instance();
  const bool to_device = memory.contains(to, bytes), from_device = memory.contains(from, bytes);
  const bool wants_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool wants_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind != cudaMemcpyDefault && (wants_to != to_device || wants_from != from_device)) return report(cudaErrorInvalidValue);
  if (from_device && !to_device) ++star::simt::counts().host_waits;
  return submit(stream, [=, &memory] {
    // Large ones are read as zeros on the host, and left out on the device.
    if (audit_enabled() && to_device && bytes > star::simt::kSmallCopy) return cudaSuccess;
    std::memmove(to, from, bytes);
    if (to_device && from_device) {
      memory.copy_marks(to, from, bytes);
    } else if (to_device) {
      memory.mark_written(to, bytes);
    }
    return cudaSuccess;
  });
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) { return cudaMemsetAsync(to, value, bytes, nullptr); }
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  DeviceMemory& memory = DeviceMemory::instance();
  if (!memory.contains(to, bytes)) return report(cudaErrorInvalidValue);
  return submit(stream, [=, &memory] {
    if (audit_enabled() && bytes > star::simt::kSmallCopy) return cudaSuccess;
    std::memset(to, value, bytes);
    memory.mark_written(to, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  struct sysinfo info {};
  sysinfo(&info);
  *free = static_cast<size_t>(info.freeram) * info.mem_unit;
  *total = static_cast<size_t>(info.totalram) * info.mem_unit;
  if (const uint64_t memory = Machine::from_environment().memory; memory != UINT64_MAX) {
    *total = memory;
    *free = memory - std::min<uint64_t>(memory, DeviceMemory::instance().used());
  }
  return cudaSuccess;
}

// The pool keeps nothing: memory that is freed goes back at once, so that using it again is found.
struct CUmemPoolHandle_st {
  uint64_t release_threshold = 0;
};

namespace {
CUmemPoolHandle_st default_pool;
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  *pool = &default_pool;
  return report(device >= 0 && device < Machine::from_environment().devices ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  switch (attribute) {
    case cudaMemPoolAttrReleaseThreshold: pool->release_threshold = *static_cast<uint64_t*>(value); return cudaSuccess;
    case cudaMemPoolAttrReservedMemHigh:
    case cudaMemPoolAttrUsedMemHigh: DeviceMemory::instance().peak(true); return cudaSuccess;
    default: return report(cudaErrorInvalidValue);
  }
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  uint64_t& result = *static_cast<uint64_t*>(value);
  switch (attribute) {
    case cudaMemPoolAttrReleaseThreshold: result = pool->release_threshold; return cudaSuccess;
    case cudaMemPoolAttrReservedMemCurrent:
    case cudaMemPoolAttrUsedMemCurrent: result = DeviceMemory::instance().used(); return cudaSuccess;
    case cudaMemPoolAttrReservedMemHigh:
    case cudaMemPoolAttrUsedMemHigh: result = DeviceMemory::instance().peak(false); return cudaSuccess;
  }
  return report(cudaErrorInvalidValue);
}
cudaError_t cudaDeviceGetGraphMemAttribute(int, cudaGraphMemAttributeType, void* value) {
  *static_cast<uint64_t*>(value) = graph_memory;
  return cudaSuccess;
}
cudaError_t cudaDeviceGraphMemTrim(int) { return cudaSuccess; }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }
