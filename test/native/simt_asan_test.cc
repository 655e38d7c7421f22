// Accesses outside of memory, which only the AddressSanitizer build sees: these tests are part of that build alone.
#include "simt_support.h"

namespace star::test {
namespace {

// index of the byte that is touched; memory 0: global, read. 1: global, written. 2: shared. 3: dynamic shared. 4: an int4 at the
// byte, in global memory.
__global__ void touch_kernel(char* x, int index, int memory) {
  STAR_SHARED(char, fixed, [36]);
  char* bytes = dynamic_shared<char>();
  fixed[threadIdx.x] = bytes[threadIdx.x] = 0;
  __syncthreads();
  if (threadIdx.x != 0) return;
  if (memory == 0) fixed[0] = x[index];
  if (memory == 1) x[index] = 1;
  if (memory == 2) fixed[index] = 1;
  if (memory == 3) bytes[index] = 1;
  if (memory == 4) *reinterpret_cast<int4*>(x + index) = make_int4(1, 2, 3, 4);
}

TEST(SimtFaultsDeathTest, AccessesOutsideOfMemory) {
  Buffer<char> x(std::vector<char>(36));
  for (int memory = 0; memory < 4; ++memory) EXPECT_EQ(problem(false, touch_kernel, {1, 32, 36}, x.data, 35, memory), "");
  EXPECT_EQ(problem(false, touch_kernel, {1, 32, 36}, x.data, 16, 4), "");
  for (int memory = 0; memory < 4; ++memory)
    for (const int index : {36, -1})
      EXPECT_DEATH(problem(false, touch_kernel, {1, 32, 36}, x.data, index, memory), "heap-buffer-overflow") << memory;
  EXPECT_DEATH(problem(false, touch_kernel, {1, 32, 36}, x.data, 32, 4), "heap-buffer-overflow");
  EXPECT_DEATH(problem(false, touch_kernel, {1, 32, 36}, x.data, 8, 4), "misaligned address");
  char* freed = nullptr;
  check_cuda(cudaMallocAsync(reinterpret_cast<void**>(&freed), 36, nullptr), "test");
  check_cuda(cudaFreeAsync(freed, nullptr), "test");
  EXPECT_DEATH(problem(false, touch_kernel, {1, 32, 36}, freed, 0, 0), "heap-use-after-free");
}

}  // namespace
}  // namespace star::test
