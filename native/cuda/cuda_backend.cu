#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

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

// Why GPU `device` cannot be used, or nothing.
std::string device_problem(int device) {
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
  if (const cudaError_t failed = cudaGetDeviceProperties(&p, device); failed != cudaSuccess)
    return std::string("the NVIDIA GPU does not answer (") + cudaGetErrorString(failed) + "): check nvidia-smi";
  if (p.major < 8)
    return std::string(p.name) + " has compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) +
           ", 8.0 is needed: use an NVIDIA GPU of the Ampere generation or newer";
  return "";
}

}  // namespace

bool CudaBackend::available(std::string* reason) const {
  const std::lock_guard lock(mutex_);
  if (usable_) return true;  // asked for every tensor, and the driver takes its time
  const std::string problem = device_problem(device_);
  cudaGetLastError();  // what was found out here must not be reported by the next call
  if (problem.empty()) return usable_ = Library::available({&Library::cublaslt(), &Library::cudnn()}, reason);
  *reason = problem;
  return false;
}

std::string CudaBackend::description() const {
  cudaDeviceProp p{};
  int driver = 0;
  check_cuda(cudaGetDeviceProperties(&p, device_), "device properties");
  check_cuda(cudaDriverGetVersion(&driver), "driver version");
  return std::string(p.name) + ", compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) + ", " +
         std::to_string(p.totalGlobalMem >> 20) + " MiB, driver for CUDA " + cuda_version(driver);
}

// Threads have a device each, at first the machine's first one.
void CudaBackend::attach() const {
  int device = -1;
  if (cudaGetDevice(&device) != cudaSuccess || device != device_) check_cuda(cudaSetDevice(device_), "choice of a GPU");
}

// Waits for the end of another thread's recording.
void CudaBackend::open() {
  const std::lock_guard lock(mutex_);
  attach();
  if (open_) return;
  const char* const what = "opening the GPU";
  try {
    check_cuda(cudaGetDeviceProperties(&properties_, device_), what);
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), what);
    // Freed memory stays in the pool: it is handed out again without asking the driver.
    cudaMemPool_t pool = nullptr;
    check_cuda(cudaDeviceGetDefaultMemPool(&pool, device_), what);
    uint64_t keep = UINT64_MAX;
    check_cuda(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), what);
    check_cuda(cudaMallocAsync(reinterpret_cast<void**>(&fault_), sizeof(int), stream_), what);
    check_cuda(cudaMemsetAsync(fault_, 0, sizeof(int), stream_), what);
    staging_ = std::make_unique<CudaStaging>();
  } catch (...) {
    // A start that fails leaves nothing behind: the next one begins anew.
    if (fault_) cudaFreeAsync(std::exchange(fault_, nullptr), stream_);
    if (stream_) cudaStreamDestroy(std::exchange(stream_, nullptr));
    cudaGetLastError();
    throw;
  }
  open_ = true;
}

void CudaBackend::select(int index) {
  const std::lock_guard lock(mutex_);
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
  usable_ = usable_ && device == device_;
  device_ = device;
  attach();
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
    case kRowPosition:
      fail(ErrorCode::Argument,
           "gather_rows or scatter_rows: a position lies outside the rows of a sample (found after the fact: the device ran "
           "ahead)");
    default: fail(ErrorCode::Internal, "a kernel reported fault %d", fault);
  }
}

void CudaBackend::refuse_in_recording(const char* what) const {
  if (recording_)
    fail(ErrorCode::Device, "%s inside a recording: a graph holds work of the device alone; do it before or after", what);
}

void CudaBackend::synchronize() {
  const std::lock_guard lock(mutex_);
  if (!open_) return;
  refuse_in_recording("synchronize");
  attach();
  check_cuda(cudaStreamSynchronize(stream_), "synchronize");
  check_fault();
}

// Memory that the pools keep goes back to the driver; false where that cannot be done at the moment.
bool CudaBackend::give_back_idle_memory() noexcept {
  cudaMemPool_t pool = nullptr;
  return !recording_ && cudaStreamSynchronize(stream_) == cudaSuccess &&
         cudaDeviceGetDefaultMemPool(&pool, device_) == cudaSuccess && cudaMemPoolTrimTo(pool, 0) == cudaSuccess &&
         cudaDeviceGraphMemTrim(device_) == cudaSuccess;
}

void* CudaBackend::allocate(size_t bytes) {
  const std::lock_guard lock(mutex_);
  open();
  void* data = nullptr;
  cudaError_t status = cudaMallocAsync(&data, std::max<size_t>(bytes, 1), stream_);
  // What is free lies in pieces that do not fit, or belongs to graphs that are gone: the driver makes one piece of it.
  if (status == cudaErrorMemoryAllocation && give_back_idle_memory()) {
    cudaGetLastError();
    status = cudaMallocAsync(&data, std::max<size_t>(bytes, 1), stream_);
  }
  check_cuda(status, "allocate");
  stats_.live_bytes += bytes;
  stats_.live_blocks += 1;
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  return data;
}

void CudaBackend::release(void* data, size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  // An error here belongs to earlier work of the stream: the next checked call reports it.
  cudaFreeAsync(data, stream_);
  stats_.live_bytes -= bytes;
  stats_.live_blocks -= 1;
}

MemoryStats CudaBackend::memory() const {
  const std::lock_guard lock(mutex_);
  MemoryStats stats = stats_;
  if (!open_) return stats;
  cudaMemPool_t pool = nullptr;
  uint64_t reserved = 0, used = 0, graphs = 0;
  check_cuda(cudaDeviceGetDefaultMemPool(&pool, device_), "memory");
  check_cuda(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved), "memory");
  check_cuda(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used), "memory");
  check_cuda(cudaDeviceGetGraphMemAttribute(device_, cudaGraphMemAttrReservedMemCurrent, &graphs), "memory");
  stats.cached_bytes = reserved - used + graphs;
  return stats;
}

void CudaBackend::reset_peak_memory() {
  const std::lock_guard lock(mutex_);
  stats_.peak_bytes = stats_.live_bytes;
}

void CudaBackend::trim_memory() {
  const std::lock_guard lock(mutex_);
  if (!open_) return;
  refuse_in_recording("trim");
  attach();
  cudaMemPool_t pool = nullptr;
  check_cuda(cudaStreamSynchronize(stream_), "trim");
  check_cuda(cudaDeviceGetDefaultMemPool(&pool, device_), "trim");
  check_cuda(cudaMemPoolTrimTo(pool, 0), "trim");
  check_cuda(cudaDeviceGraphMemTrim(device_), "trim");
}

void CudaBackend::copy_from_host(void* to, const void* from, size_t bytes) {
  const std::lock_guard lock(mutex_);
  open();
  refuse_in_recording("copy from the host");
  staging_->to_device(to, from, bytes, stream_);
}

void CudaBackend::copy_to_host(void* to, const void* from, size_t bytes) {
  const std::lock_guard lock(mutex_);
  open();
  refuse_in_recording("copy to the host");
  staging_->to_host(to, from, bytes, stream_);
  check_fault();
}

void CudaBackend::copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()), "copy");
}

}  // namespace star
