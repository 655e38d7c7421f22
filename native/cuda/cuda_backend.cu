#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cuda/cuda_backend.h"
#include "cuda/launch.h"
#include "cuda/library.h"
#include "cuda/staging.h"

namespace star {

CudaBackend::CudaBackend(const char* name) : name_(name) {}

// The process ends: the driver takes everything back by itself, and may be gone already.
CudaBackend::~CudaBackend() = default;

bool CudaBackend::available(std::string* reason) const {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    cudaGetLastError();
    *reason = status == cudaErrorInsufficientDriver
                  ? "the NVIDIA driver is missing or too old for CUDA 13: install driver 580 or newer"
                  : std::string("no NVIDIA GPU can be used (") + cudaGetErrorString(status) +
                        "): check nvidia-smi, and CUDA_VISIBLE_DEVICES if it is set";
    return false;
  }
  return Library::cublaslt().available(reason) && Library::cudnn().available(reason);
}

std::string CudaBackend::description() const {
  cudaDeviceProp p{};
  int driver = 0;
  check_cuda(cudaGetDeviceProperties(&p, 0), "device properties");
  check_cuda(cudaDriverGetVersion(&driver), "driver version");
  return std::string(p.name) + ", compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) + ", " +
         std::to_string(p.totalGlobalMem >> 20) + " MiB, driver for CUDA " + std::to_string(driver / 1000) + "." +
         std::to_string(driver % 1000 / 10);
}

void CudaBackend::open() {
  if (open_) return;
  check_cuda(cudaSetDevice(0), "opening the GPU");
  check_cuda(cudaGetDeviceProperties(&properties_, 0), "opening the GPU");
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "opening the GPU");
  // Freed memory stays in the pool: it is handed out again without asking the driver.
  cudaMemPool_t pool = nullptr;
  check_cuda(cudaDeviceGetDefaultMemPool(&pool, 0), "memory pool");
  uint64_t keep = UINT64_MAX;
  check_cuda(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "memory pool");
  check_cuda(cudaMallocAsync(reinterpret_cast<void**>(&fault_), sizeof(int), stream_), "memory pool");
  check_cuda(cudaMemsetAsync(fault_, 0, sizeof(int), stream_), "memory pool");
  staging_ = std::make_unique<CudaStaging>();
  open_ = true;
}

cudaStream_t CudaBackend::stream() {
  open();
  return stream_;
}

const cudaDeviceProp& CudaBackend::properties() {
  open();
  return properties_;
}

int* CudaBackend::fault() {
  open();
  return fault_;
}

void CudaBackend::check_fault() {
  int fault = kNoFault;
  staging_->to_host(&fault, fault_, sizeof fault, stream_);
  if (fault == kNoFault) return;
  check_cuda(cudaMemsetAsync(fault_, 0, sizeof(int), stream_), "synchronize");
  switch (fault) {
    case kEmbeddingIndex:
      fail(ErrorCode::Argument, "embedding: an index lies outside the table (found after the fact: the device ran ahead)");
    default: fail(ErrorCode::Internal, "a kernel reported fault %d", fault);
  }
}

void CudaBackend::synchronize() {
  if (!open_) return;
  check_cuda(cudaStreamSynchronize(stream_), "synchronize");
  check_fault();
}

void* CudaBackend::allocate(size_t bytes) {
  open();
  void* data = nullptr;
  check_cuda(cudaMallocAsync(&data, std::max<size_t>(bytes, 1), stream_), "allocate");
  stats_.live_bytes += bytes;
  stats_.live_blocks += 1;
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  return data;
}

void CudaBackend::release(void* data, size_t bytes) noexcept {
  // An error here belongs to earlier work of the stream: the next checked call reports it.
  cudaFreeAsync(data, stream_);
  stats_.live_bytes -= bytes;
  stats_.live_blocks -= 1;
}

MemoryStats CudaBackend::memory() const {
  MemoryStats stats = stats_;
  if (!open_) return stats;
  cudaMemPool_t pool = nullptr;
  uint64_t reserved = 0, used = 0;
  check_cuda(cudaDeviceGetDefaultMemPool(&pool, 0), "memory");
  check_cuda(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved), "memory");
  check_cuda(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used), "memory");
  stats.cached_bytes = reserved - used;
  return stats;
}

void CudaBackend::reset_peak_memory() { stats_.peak_bytes = stats_.live_bytes; }

void CudaBackend::trim_memory() {
  if (!open_) return;
  check_cuda(cudaStreamSynchronize(stream_), "trim");
  cudaMemPool_t pool = nullptr;
  check_cuda(cudaDeviceGetDefaultMemPool(&pool, 0), "trim");
  check_cuda(cudaMemPoolTrimTo(pool, 0), "trim");
}

void CudaBackend::copy_from_host(void* to, const void* from, size_t bytes) {
  open();
  staging_->to_device(to, from, bytes, stream_);
}

void CudaBackend::copy_to_host(void* to, const void* from, size_t bytes) {
  open();
  staging_->to_host(to, from, bytes, stream_);
  check_fault();
}

void CudaBackend::copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()), "copy");
}

}  // namespace star
