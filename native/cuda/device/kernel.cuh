// What every kernel file starts from: the CUDA headers (or, in the simt build, their stand-ins on the include path).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

namespace star {

constexpr int kWarp = 32;
constexpr unsigned kFullWarp = 0xffffffffu;

using f16 = __half;
using bf16 = __nv_bfloat16;

}  // namespace star
