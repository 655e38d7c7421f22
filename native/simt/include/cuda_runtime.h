// Stand-in of NVIDIA's header: device code runs as C++ on fibers, the runtime API on the host (native/simt).
#pragma once

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __grid_constant__

#include "simt/api.h"
#include "simt/block.h"
#include "simt/intrinsics.h"
#include "simt/vector_types.h"
#include "simt/warp.h"
