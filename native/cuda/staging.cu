#include <algorithm>
#include <cstring>

#include "cuda/launch.h"
#include "cuda/staging.h"

namespace star {

CudaStaging::CudaStaging() {
  for (Buffer& buffer : buffers_) {
    check_cuda(cudaHostAlloc(&buffer.data, kBytes, cudaHostAllocDefault), "pinned memory");
    check_cuda(cudaEventCreateWithFlags(&buffer.free, cudaEventDisableTiming), "event");
  }
}

CudaStaging::~CudaStaging() {
  for (Buffer& buffer : buffers_) {
    if (buffer.free) cudaEventDestroy(buffer.free);
    if (buffer.data) cudaFreeHost(buffer.data);
  }
}

void CudaStaging::to_device(void* to, const void* from, size_t bytes, cudaStream_t stream) {
  for (size_t done = 0; done < bytes; done += kBytes, next_ ^= 1) {
    const size_t part = std::min(kBytes, bytes - done);
    Buffer& buffer = buffers_[next_];
    check_cuda(cudaEventSynchronize(buffer.free), "copy to the device");
    std::memcpy(buffer.data, static_cast<const char*>(from) + done, part);
    check_cuda(cudaMemcpyAsync(static_cast<char*>(to) + done, buffer.data, part, cudaMemcpyHostToDevice, stream),
               "copy to the device");
    check_cuda(cudaEventRecord(buffer.free, stream), "copy to the device");
  }
}

void CudaStaging::to_host(void* to, const void* from, size_t bytes, cudaStream_t stream) {
  // One piece is on its way while the one before it is taken out of its buffer.
  size_t taken = 0;
  int oldest = next_;
  auto take = [&] {
    Buffer& buffer = buffers_[oldest];
    check_cuda(cudaEventSynchronize(buffer.free), "copy to the host");
    const size_t part = std::min(kBytes, bytes - taken);
    std::memcpy(static_cast<char*>(to) + taken, buffer.data, part);
    taken += part;
    oldest ^= 1;
  };
  for (size_t sent = 0; sent < bytes; sent += kBytes, next_ ^= 1) {
    if (sent >= 2 * kBytes) take();
    Buffer& buffer = buffers_[next_];
    check_cuda(cudaEventSynchronize(buffer.free), "copy to the host");
    check_cuda(cudaMemcpyAsync(buffer.data, static_cast<const char*>(from) + sent, std::min(kBytes, bytes - sent),
                               cudaMemcpyDeviceToHost, stream),
               "copy to the host");
    check_cuda(cudaEventRecord(buffer.free, stream), "copy to the host");
  }
  while (taken < bytes) take();
}

}  // namespace star
