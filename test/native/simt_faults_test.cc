// Faults planted in kernels, each beside the same kernel without it: the SIMT runtime must report the one and run the other.
#include <cmath>

#include "simt_support.h"

namespace star::test {
namespace {

const std::string kDepends = "depends on the order of threads";

// fault 0: none. 1: barriers that threads beyond 40 leave out by returning. 2: two barriers instead of one. 3: a barrier for the
// first warp, a shuffle for the second. 4: a shuffle that half a warp leaves out. 5: two shuffles instead of one. 6: a mask that
// names lanes which call with another mask.
__global__ void meeting_kernel(int* y, int fault) {
  int x = static_cast<int>(threadIdx.x);
  if (fault == 1 && x >= 40) return;
  if (fault == 2 && x < 32) {
    __syncthreads();
  } else if (fault == 3 && x >= 32) {
    x = __shfl_sync(kFullWarp, x, 0);
  } else {
    __syncthreads();
  }
  if (fault == 4 && x % 32 >= 16) {
    y[threadIdx.x] = 0;
    return;
  }
  if (fault == 5 && x % 32 >= 16) {
    x = __shfl_xor_sync(kFullWarp, x, 1);
  } else if (fault == 6 && x % 32 >= 16) {
    x = __shfl_xor_sync(0xffff0000u, x, 1);
  } else {
    x = __shfl_xor_sync(kFullWarp, x, 1);
  }
  __syncthreads();
  y[threadIdx.x] = x;
}

TEST(SimtFaults, BarriersAndShufflesReachedByAPart) {
  Buffer<int> y(64);
  EXPECT_EQ(problem(false, meeting_kernel, {3, 64}, y.data, 0), "");
  EXPECT_EQ(y.values()[40], 41);
  const std::string left = problem(false, meeting_kernel, {3, 64}, y.data, 1);
  EXPECT_TRUE(contains(left, "kernel star::test::(anonymous namespace)::meeting_kernel, block (0, 0, 0)"));
  EXPECT_TRUE(contains(left, "40 of 64 threads ((0, 0, 0) …) in __syncthreads at "));
  EXPECT_TRUE(contains(left, "24 of 64 threads ((40, 0, 0) …) left the kernel"));
  const std::string two = problem(false, meeting_kernel, {3, 64}, y.data, 2);
  EXPECT_TRUE(contains(two, "32 of 64 threads ((0, 0, 0) …) in __syncthreads at "));
  EXPECT_TRUE(contains(two, "1 of 64 threads ((32, 0, 0)) in __syncthreads at "));
  EXPECT_TRUE(contains(problem(false, meeting_kernel, {3, 64}, y.data, 3), "31 of 64 threads ((33, 0, 0) …) in __shfl_xor_sync"));
  EXPECT_TRUE(contains(problem(false, meeting_kernel, {3, 64}, y.data, 4), "32 of 64 threads ((16, 0, 0) …) left the kernel"));
  for (const int fault : {5, 6})
    EXPECT_TRUE(contains(problem(false, meeting_kernel, {3, 64}, y.data, fault), "in __shfl_xor_sync at "));
  // A failed launch leaves nothing behind.
  EXPECT_EQ(problem(false, meeting_kernel, {3, 64}, y.data, 0), "");
  EXPECT_EQ(problem(true, meeting_kernel, {3, 64}, y.data, 0), "");
}

__global__ void reverse_kernel(const int* x, int* y, bool barrier) {
  STAR_SHARED(int, row, [64]);
  row[threadIdx.x] = x[threadIdx.x];
  if (barrier) __syncthreads();
  y[threadIdx.x] = row[63 - threadIdx.x];
}

// Two rounds through one buffer: without the second barrier a thread writes the next round while others read this one.
__global__ void rounds_kernel(const int* x, int* y, bool barrier) {
  STAR_SHARED(int, row, [64]);
  int sum = 0;
  for (int round = 0; round < 2; ++round) {
    row[threadIdx.x] = x[threadIdx.x] * (round + 1);
    __syncthreads();
    sum += row[63 - threadIdx.x];
    if (barrier) __syncthreads();
  }
  y[threadIdx.x] = sum;
}

__global__ void warp_reverse_kernel(const int* x, int* y, bool barrier) {
  STAR_SHARED(int, row, [32]);
  row[threadIdx.x] = x[threadIdx.x];
  if (barrier) __syncwarp();
  y[threadIdx.x] = row[31 - threadIdx.x];
}

TEST(SimtFaults, MissingBarriers) {
  std::vector<int> values(64);
  for (int i = 0; i < 64; ++i) values[static_cast<size_t>(i)] = i;
  Buffer<int> x(values), y(64);
  for (const auto& kernel : {reverse_kernel, rounds_kernel}) {
    EXPECT_EQ(problem(true, kernel, {1, 64}, x.data, y.data, true), "");
    EXPECT_TRUE(contains(problem(true, kernel, {1, 64}, x.data, y.data, false), kDepends));
  }
  EXPECT_EQ(problem(true, warp_reverse_kernel, {1, 32}, x.data, y.data, true), "");
  const std::string text = problem(true, warp_reverse_kernel, {1, 32}, x.data, y.data, false);
  EXPECT_TRUE(contains(text, "kernel star::test::(anonymous namespace)::warp_reverse_kernel: its result depends"));
  EXPECT_TRUE(contains(text, "byte 0 of allocation "));
}

__global__ void winner_kernel(int* y, bool atomic) {
  if (threadIdx.x != 0) return;
  if (atomic) {
    atomicMax(y, static_cast<int>(blockIdx.x));
  } else {
    *y = static_cast<int>(blockIdx.x);
  }
}

__global__ void neighbours_kernel(int* y, bool in_place, int* z) {
  // Adds the right neighbour, which another thread is about to change or has changed.
  const unsigned i = blockIdx.x * 32 + threadIdx.x;
  (in_place ? y : z)[i] = y[i] + y[(i + 1) % 64];
}

TEST(SimtFaults, Races) {
  Buffer<int> y(std::vector<int>(64, 0)), z(64);
  EXPECT_EQ(problem(true, winner_kernel, {5, 32}, y.data, true), "");
  EXPECT_EQ(y.values()[0], 4);
  EXPECT_TRUE(contains(problem(true, winner_kernel, {5, 32}, y.data, false), kDepends));
  std::vector<int> values(64);
  for (int i = 0; i < 64; ++i) values[static_cast<size_t>(i)] = i * i;
  Buffer<int> squares(values);
  EXPECT_EQ(problem(true, neighbours_kernel, {2, 32}, squares.data, false, z.data), "");
  EXPECT_TRUE(contains(problem(true, neighbours_kernel, {2, 32}, squares.data, true, z.data), kDepends));
}

// Folds 32 floats of which the last are written only without the fault.
__global__ void fold_kernel(float* y, int how, bool fault) {
  STAR_SHARED(float, row, [32]);
  if (!fault || threadIdx.x < 28) row[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncthreads();
  if (threadIdx.x != 0) return;
  float x = 0;
  for (int i = 0; i < 32; ++i) {
    if (how == 0) x += row[i];
    if (how == 1) x = fmaxf(x, row[i]);
    if (how == 2) x = fminf(x, row[i]);
    if (how == 3) x += i < 28 ? row[i] : 0.0f * row[i];
  }
  *y = x;
}

// The same in device memory, which stays unwritten beyond `count`.
__global__ void write_kernel(float* x, unsigned count) {
  if (threadIdx.x < count) x[threadIdx.x] = 1.0f;
}
__global__ void sum_kernel(const float* x, float* y, int count) {
  float sum = 0;
  for (int i = 0; i < count; ++i) sum += x[i];
  if (threadIdx.x == 0) *y = sum;
}

TEST(SimtFaults, MemoryReadBeforeItIsWritten) {
  const Checks checks(true);  // allocations remember what was written
  Buffer<float> y(1);
  for (const int how : {0, 1, 2, 3}) {
    EXPECT_EQ(problem(true, fold_kernel, {1, 32}, y.data, how, false), "") << how;
    EXPECT_TRUE(contains(problem(true, fold_kernel, {1, 32}, y.data, how, true), kDepends));
  }
  Buffer<float> x(32);
  EXPECT_EQ(problem(true, write_kernel, {1, 32}, x.data, 30), "");
  EXPECT_EQ(problem(true, sum_kernel, {1, 32}, x.data, y.data, 30), "");
  EXPECT_EQ(y.values()[0], 30.0f);
  EXPECT_TRUE(contains(problem(true, sum_kernel, {1, 32}, x.data, y.data, 31), kDepends));
  // A copy of it knows as much.
  Buffer<float> copy(32);
  check_cuda(cudaMemcpy(copy.data, x.data, 128, cudaMemcpyDeviceToDevice), "test");
  EXPECT_TRUE(contains(problem(true, sum_kernel, {1, 32}, copy.data, y.data, 31), kDepends));
  check_cuda(cudaMemset(copy.data + 30, 0, 8), "test");
  EXPECT_EQ(problem(true, sum_kernel, {1, 32}, copy.data, y.data, 32), "");
}

// fault 1: no wait. 2: a wait for all but the newest group, which is the one that is needed. 3: no commit. 4: the buffer is
// filled again while other threads may still read it.
__global__ void copies_kernel(const float4* x, float4* y, int fault) {
  STAR_SHARED(float4, row, [64]);
  for (int round = 0; round < 2; ++round) {
    cp_async_16(&row[threadIdx.x], &x[round * 64 + threadIdx.x], true);
    if (fault != 3) cp_async_commit();
    if (fault == 2) {
      cp_async_wait<1>();
    } else if (fault != 1) {
      cp_async_wait<0>();
    }
    __syncthreads();
    y[round * 64 + threadIdx.x] = row[63 - threadIdx.x];
    if (fault != 4) __syncthreads();
  }
}

// The second tile is on its way while the first one is read: with one buffer for both, it may overtake the reading.
__global__ void prefetch_kernel(const float4* x, float4* y, int buffers) {
  STAR_SHARED(float4, row, [2][64]);
  const auto fetch = [&](int tile) {
    cp_async_16(&row[tile % buffers][threadIdx.x], &x[tile * 64 + threadIdx.x], true);
    cp_async_commit();
  };
  fetch(0);
  cp_async_wait<0>();
  __syncthreads();
  fetch(1);
  y[threadIdx.x] = row[0][63 - threadIdx.x];
  __syncthreads();
  cp_async_wait<0>();
  __syncthreads();
  y[64 + threadIdx.x] = row[1 % buffers][63 - threadIdx.x];
}

TEST(SimtFaults, AsynchronousCopies) {
  std::vector<float4> values(128);
  for (size_t i = 0; i < 128; ++i) values[i] = make_float4(static_cast<float>(i), 0.0f, 1.0f, 2.0f);
  Buffer<float4> x(values), y(128);
  EXPECT_EQ(problem(true, copies_kernel, {1, 64}, x.data, y.data, 0), "");
  for (const int fault : {1, 2, 3, 4})
    EXPECT_TRUE(contains(problem(true, copies_kernel, {1, 64}, x.data, y.data, fault), "on when cp.async lands"));
  EXPECT_EQ(problem(true, prefetch_kernel, {1, 64}, x.data, y.data, 2), "");
  EXPECT_TRUE(contains(problem(true, prefetch_kernel, {1, 64}, x.data, y.data, 1), "on when cp.async lands"));
  // Without the checks the bytes do not arrive either.
  EXPECT_EQ(problem(false, copies_kernel, {1, 64}, x.data, y.data, 1), "");
  EXPECT_TRUE(std::isnan(y.values()[0].x));
}

// fault 1: matrix rows in global memory. 2: not at a multiple of 16. 3: beyond the variable's end. 4, 5: the same for copies.
__global__ void addresses_kernel(float4* x, int fault) {
  STAR_SHARED(uint16_t, tile, [33][8]);
  for (unsigned i = threadIdx.x; i < 33 * 8; i += 32) tile[i / 8][i % 8] = 0;
  __syncthreads();
  uint32_t r[4];
  const uint16_t* row = tile[threadIdx.x];
  if (fault == 1) row = reinterpret_cast<const uint16_t*>(x) + threadIdx.x * 8;
  if (fault == 2) row += 1;
  if (fault == 3) row += 16;
  ldmatrix_x4(r, row);
  cp_async_16(tile[threadIdx.x + (fault == 4 ? 2 : 0)], reinterpret_cast<char*>(x + threadIdx.x) + (fault == 5 ? 8 : 0), true);
  cp_async_commit();
  cp_async_wait<0>();
}

TEST(SimtFaults, AddressesOfMatrixLoadsAndCopies) {
  Buffer<float4> x(std::vector<float4>(33));
  EXPECT_EQ(problem(false, addresses_kernel, {1, 32}, x.data, 0), "");
  EXPECT_TRUE(
      contains(problem(false, addresses_kernel, {1, 32}, x.data, 1), "ldmatrix: the address is not one of 16 bytes in shared"));
  EXPECT_TRUE(contains(problem(false, addresses_kernel, {1, 32}, x.data, 2), "ldmatrix: the address is not a multiple of 16"));
  EXPECT_TRUE(
      contains(problem(false, addresses_kernel, {1, 32}, x.data, 3), "ldmatrix: the address is not one of 16 bytes in shared"));
  EXPECT_TRUE(
      contains(problem(false, addresses_kernel, {1, 32}, x.data, 4), "cp.async: the address is not one of 16 bytes in shared"));
  EXPECT_TRUE(contains(problem(false, addresses_kernel, {1, 32}, x.data, 5), "cp.async: the address in global memory"));
}

template <int kilobytes>
__global__ void large_kernel(char* y) {
  STAR_SHARED(char, fixed, [kilobytes << 10]);
  char* bytes = dynamic_shared<char>();
  fixed[threadIdx.x] = bytes[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = static_cast<char>(fixed[31 - threadIdx.x] + bytes[31 - threadIdx.x]);
}

TEST(SimtFaults, LimitsOfALaunch) {
  Buffer<char> y(32);
  EXPECT_EQ(problem(false, large_kernel<16>, {1, 32, 32 << 10}, y.data), "");
  EXPECT_TRUE(contains(problem(false, large_kernel<17>, {1, 32, 32 << 10}, y.data), "shared memory exceeds its limit"));
  EXPECT_EQ(problem(false, large_kernel<3>, {1, 32, 160 << 10}, y.data), "");
  EXPECT_TRUE(contains(problem(false, large_kernel<4>, {1, 32, 160 << 10}, y.data), "shared memory exceeds its limit"));
  EXPECT_TRUE(contains(problem(false, large_kernel<1>, {1, 32, 164 << 10}, y.data), "invalid argument"));
  EXPECT_TRUE(contains(problem(false, large_kernel<1>, {1, 1025, 1024}, y.data), "invalid configuration"));
  EXPECT_TRUE(contains(problem(false, large_kernel<1>, {{1, 65536}, 32, 1024}, y.data), "invalid configuration"));
}

TEST(SimtFaults, CallsWithWrongMemory) {
  Buffer<char> x(8);
  char host[16] = {};
  EXPECT_EQ(cudaMemcpy(x.data, host, 9, cudaMemcpyHostToDevice), cudaErrorInvalidValue) << "beyond the end";
  EXPECT_EQ(cudaMemcpy(host, host + 8, 8, cudaMemcpyDeviceToHost), cudaErrorInvalidValue) << "not on the device";
  EXPECT_EQ(cudaMemset(x.data + 1, 0, 8), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(x.data + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

}  // namespace
}  // namespace star::test
