// Copies between pageable host memory and the device through two pinned buffers, so that the next piece is filled while the
// last one travels.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

namespace star {

class CudaStaging {
 public:
  CudaStaging();  // throws ERR_MEMORY
  ~CudaStaging();
  CudaStaging(const CudaStaging&) = delete;
  CudaStaging& operator=(const CudaStaging&) = delete;

  // `from` may be changed when it returns; the device has the bytes when the stream's earlier work is done.
  void to_device(void* to, const void* from, size_t bytes, cudaStream_t stream);
  // Waits for the stream.
  void to_host(void* to, const void* from, size_t bytes, cudaStream_t stream);

 private:
  static constexpr size_t kBytes = 4 << 20;
  struct Buffer {
    void* data = nullptr;
    cudaEvent_t free = nullptr;  // recorded behind the copy that used it last
  };
  Buffer buffers_[2];
  int next_ = 0;
};

}  // namespace star
