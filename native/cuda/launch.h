// Launching kernels and checking CUDA calls.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

#include "core/error.h"

namespace star {

// Throws ERR_MEMORY or ERR_DEVICE "op: text".
inline void check_cuda(cudaError_t status, const char* op) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // an error that is not sticky must not be found again by the next call
  if (status == cudaErrorMemoryAllocation)
    fail(ErrorCode::Memory, "%s: the device has not enough free memory: use a smaller batch or a smaller model", op);
  fail(ErrorCode::Device, "%s: %s", op, cudaGetErrorString(status));
}

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes = 0;  // dynamic
};

// Blocks of `per_block` items that cover `count` of them.
inline unsigned blocks_for(int64_t count, int64_t per_block) {
  const int64_t blocks = (count + per_block - 1) / per_block;
  if (blocks > INT32_MAX)
    fail(ErrorCode::Argument, "a tensor is too large for one kernel: %lld blocks", static_cast<long long>(blocks));
  return static_cast<unsigned>(blocks);
}

// kernel<<<grid, block, shared_bytes, stream>>>(args…), nothing when the grid is empty. `op` names the op in errors.
template <class... Parameters, class... Arguments>
void launch(const char* op, void (*kernel)(Parameters...), const LaunchShape& shape, cudaStream_t stream,
            Arguments&&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  constexpr size_t kAlwaysAllowed = 32 << 10;  // without asking it is 48 KiB, but that includes the kernel's static shared memory
  if (shape.shared_bytes > kAlwaysAllowed)
    check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shape.shared_bytes)),
               op);
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  check_cuda(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(std::forward<Arguments>(arguments))...), op);
}

}  // namespace star
