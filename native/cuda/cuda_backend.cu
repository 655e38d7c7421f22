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

namespace {

std::string cuda_version(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

// Why no GPU can be used, or nothing.
std::string device_problem() {
  int driver = 0, count = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
    return "no NVIDIA driver was found: install driver 580 or newer";
  if (driver < 13000)
    return "the NVIDIA driver is made for CUDA " + cuda_version(driver) + ", 13.0 is needed: install driver 580 or newer";
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0)
    return std::string("no NVIDIA GPU can be used (") + cudaGetErrorString(status) +
           "): check nvidia-smi, and CUDA_VISIBLE_DEVICES if it is set";
  cudaDeviceProp p{};
  if (const cudaError_t failed = cudaGetDeviceProperties(&p, 0); failed != cudaSuccess)
    return std::string("the NVIDIA GPU does not answer (") + cudaGetErrorString(failed) + "): check nvidia-smi";
  if (p.major < 8)
    return std::string(p.name) + " has compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) +
           ", 8.0 is needed: use an NVIDIA GPU of the Ampere generation or newer";
  return "";
}

}  // namespace

bool CudaBackend::available(std::string* reason) const {
  const std::string problem = device_problem();
  cudaGetLastError();  // what was found out here must not be reported by the next call
  if (problem.empty()) return Library::available({&Library::cublaslt(), &Library::cudnn()}, reason);
  *reason = problem;
  return false;
}

std::string CudaBackend::description() const {
  cudaDeviceProp p{};
  int driver = 0;
  check_cuda(cudaGetDeviceProperties(&p, 0), "device properties");
  check_cuda(cudaDriverGetVersion(&driver), "driver version");
  return std::string(p.name) + ", compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) + ", " +
         std::to_string(p.totalGlobalMem >> 20) + " MiB, driver for CUDA " + cuda_version(driver);
}

void CudaBackend::open() {
  if (open_) return;
  check_cuda(cudaSetDevice(device_), "opening the GPU");
  check_cuda(cudaGetDeviceProperties(&properties_, device_), "opening the GPU");
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "opening the GPU");
  // Freed memory stays in the pool: it is handed out again without asking the driver.
  cudaMemPool_t pool = nullptr;
  check_cuda(cudaDeviceGetDefaultMemPool(&pool, device_), "memory pool");
  uint64_t keep = UINT64_MAX;
  check_cuda(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "memory pool");
  check_cuda(cudaMallocAsync(reinterpret_cast<void**>(&fault_), sizeof(int), stream_), "memory pool");
  check_cuda(cudaMemsetAsync(fault_, 0, sizeof(int), stream_), "memory pool");
  staging_ = std::make_unique<CudaStaging>();
  open_ = true;
}

void CudaBackend::select(int index) {
  int count = 0;
  check_cuda(cudaGetDeviceCount(&count), "choice of a GPU");
  // Launchers may show each process a GPU of its own: then there is one, whatever the process's number.
  if (count > 1 && index >= count)
    fail(ErrorCode::Device,
         "this is process %d of its machine, counted from 0, but %d GPUs can be seen: start as many processes "
         "(star launch --nproc-per-node gpu)",
         index, count);
  const int device = count > 1 ? index : 0;
  if (open_ && device != device_)
    fail(ErrorCode::Argument, "GPU %d is in use already, GPU %d cannot be chosen any more", device_, device);
  device_ = device;
  check_cuda(cudaSetDevice(device_), "choice of a GPU");
}

void CudaBackend::lose(const std::string& why) {
  const std::lock_guard<std::mutex> lock(lost_mutex_);
  lost_ = why;
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
  {
    const std::lock_guard<std::mutex> lock(lost_mutex_);
    if (!lost_.empty()) throw Error(ErrorCode::Comm, lost_);
  }
  int fault = kNoFault;
  staging_->to_host(&fault, fault_, sizeof fault, stream_);
  if (fault == kNoFault) return;
  check_cuda(cudaMemsetAsync(fault_, 0, sizeof(int), stream_), "synchronize");
  switch (fault) {
    case kEmbeddingIndex:
      fail(ErrorCode::Argument, "embedding: an index lies outside the table (found after the fact: the device ran ahead)");
    case kTargetIndex:
      fail(ErrorCode::Argument,
           "cross_entropy: a target lies outside the vocabulary (found after the fact: the device ran ahead)");
    case kDrawLogits:
      fail(ErrorCode::Argument,
           "draw or gumbel_mix: the largest logit of a row is infinite or not a number, expected a finite one (found after the "
           "fact: the device ran ahead)");
    case kDrawUniform:
      fail(ErrorCode::Argument, "draw: a uniform number is not below 1 (found after the fact: the device ran ahead)");
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
  check_cuda(cudaDeviceGetDefaultMemPool(&pool, device_), "memory");
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
  check_cuda(cudaDeviceGetDefaultMemPool(&pool, device_), "trim");
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
