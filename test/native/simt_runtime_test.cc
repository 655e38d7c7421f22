// The SIMT runtime by itself: what device code may call does what NVIDIA says.
#include <cmath>
#include <numeric>

#include "simt_support.h"

namespace star::test {
namespace {

template <class T>
__global__ void shuffle_kernel(T* y) {
  const T x = static_cast<T>(threadIdx.x * 3 + 1);
  T* row = y + static_cast<size_t>(threadIdx.x) * 9;
  row[0] = __shfl_sync(kFullWarp, x, 5);
  row[1] = __shfl_sync(kFullWarp, x, static_cast<int>(threadIdx.x) + 3, 8);
  row[2] = __shfl_up_sync(kFullWarp, x, 3);
  row[3] = __shfl_up_sync(kFullWarp, x, 3, 8);
  row[4] = __shfl_down_sync(kFullWarp, x, 9);
  row[5] = __shfl_down_sync(kFullWarp, x, 2, 4);
  row[6] = __shfl_xor_sync(kFullWarp, x, 16);
  row[7] = __shfl_xor_sync(kFullWarp, x, 1, 2);
  row[8] = __shfl_xor_sync(kFullWarp, x, 4, 4);
}

template <class T>
void check_shuffles() {
  Buffer<T> y(64 * 9);
  launch("shuffle", shuffle_kernel<T>, {1, 64}, nullptr, y.data);
  const std::vector<T> rows = y.values();
  for (int thread = 0; thread < 64; ++thread) {
    const int lane = thread % 32;
    // The lane that is read; segments of `width` lanes are worlds of their own, and who reaches out of them reads itself, but
    // xor may reach into an earlier one.
    const int sources[9] = {5,
                            lane / 8 * 8 + (thread + 3) % 8,
                            lane >= 3 ? lane - 3 : lane,
                            lane % 8 >= 3 ? lane - 3 : lane,
                            lane + 9 < 32 ? lane + 9 : lane,
                            lane % 4 < 2 ? lane + 2 : lane,
                            lane ^ 16,
                            lane ^ 1,
                            lane & 4 ? lane - 4 : lane};
    for (int i = 0; i < 9; ++i)
      EXPECT_EQ(rows[static_cast<size_t>(thread * 9 + i)], static_cast<T>((thread / 32 * 32 + sources[i]) * 3 + 1))
          << "thread " << thread << ", shuffle " << i;
  }
}

TEST(SimtRuntime, ShufflesOfEachWidth) {
  check_shuffles<float>();
  check_shuffles<int>();
  check_shuffles<double>();
  check_shuffles<unsigned long long>();
}

__global__ void half_warps_kernel(int* y) {
  // Two groups of one warp that do not wait for each other.
  int x = static_cast<int>(threadIdx.x);
  if (threadIdx.x % 32 < 16) {
    for (int step = 8; step > 0; step /= 2) x += __shfl_xor_sync(0x0000ffffu, x, step);
  } else {
    x = __shfl_sync(0xffff0000u, x, 20);
  }
  __syncwarp();
  y[threadIdx.x] = x;
}

TEST(SimtRuntime, GroupsOfAWarp) {
  Buffer<int> y(64);
  launch("half_warps", half_warps_kernel, {1, 64}, nullptr, y.data);
  const std::vector<int> values = y.values();
  for (int i = 0; i < 64; ++i)
    EXPECT_EQ(values[static_cast<size_t>(i)], i % 32 < 16 ? 120 + i / 32 * 512 : i / 32 * 32 + 20) << i;
}

__global__ void vote_kernel(unsigned* y) {
  const int x = static_cast<int>(threadIdx.x);
  unsigned* row = y + threadIdx.x * 8;
  row[0] = __ballot_sync(kFullWarp, x % 3 == 0);
  row[1] = static_cast<unsigned>(__any_sync(kFullWarp, x == 40));
  row[2] = static_cast<unsigned>(__all_sync(kFullWarp, x < 32));
  row[3] = static_cast<unsigned>(__syncthreads_count(x % 5 == 0));
  row[4] = static_cast<unsigned>(__syncthreads_or(x == 63));
  row[5] = static_cast<unsigned>(__syncthreads_and(x != 63));
  row[6] = static_cast<unsigned>(__syncthreads_and(x >= 0));
  row[7] = static_cast<unsigned>(__syncthreads_or(x > 63));
}

TEST(SimtRuntime, Votes) {
  Buffer<unsigned> y(64 * 8);
  launch("vote", vote_kernel, {1, 64}, nullptr, y.data);
  const std::vector<unsigned> rows = y.values();
  for (unsigned i = 0; i < 64; ++i) {
    unsigned ballot = 0;
    for (unsigned l = 0; l < 32; ++l) ballot |= (i / 32 * 32 + l) % 3 == 0 ? 1u << l : 0;
    const unsigned expected[8] = {ballot, i / 32, i < 32, 13, 1, 0, 1, 0};
    for (unsigned k = 0; k < 8; ++k) EXPECT_EQ(rows[i * 8 + k], expected[k]) << "thread " << i << ", vote " << k;
  }
}

__global__ void indices_kernel(int* y) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  // The barrier lets every thread of the block run before any continues: its indices must still be its own.
  __syncthreads();
  y[block * threads + thread] += static_cast<int>(threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z + 1000 * blockIdx.x +
                                                  10000 * blockIdx.y + 100000 * blockIdx.z);
}

TEST(SimtRuntime, EveryThreadOfEveryBlockRunsOnce) {
  Buffer<int> y(std::vector<int>(2 * 3 * 4 * 8 * 4 * 2, 7));
  launch("indices", indices_kernel, {{2, 3, 4}, {8, 4, 2}}, nullptr, y.data);
  const std::vector<int> values = y.values();
  size_t i = 0;
  for (int bz = 0; bz < 4; ++bz)
    for (int by = 0; by < 3; ++by)
      for (int bx = 0; bx < 2; ++bx)
        for (int z = 0; z < 2; ++z)
          for (int row = 0; row < 4; ++row)
            for (int x = 0; x < 8; ++x) EXPECT_EQ(values[i++], 7 + x + 10 * row + 100 * z + 1000 * bx + 10000 * by + 100000 * bz);
}

__global__ void transpose_kernel(const int* x, int* y, int n) {
  STAR_SHARED(int, tile, [16][17]);
  STAR_SHARED(int, count, );
  int* rows = dynamic_shared<int>();
  if (threadIdx.x == 0 && threadIdx.y == 0) count = 0;
  __syncthreads();
  const int row = static_cast<int>(blockIdx.y * 16 + threadIdx.y), column = static_cast<int>(blockIdx.x * 16 + threadIdx.x);
  if (row < n && column < n) {
    tile[threadIdx.y][threadIdx.x] = x[row * n + column];
    atomicAdd(&count, 1);
  }
  rows[threadIdx.y * 16 + threadIdx.x] = row;
  __syncthreads();
  const int to_row = static_cast<int>(blockIdx.x * 16 + threadIdx.y), to_column = static_cast<int>(blockIdx.y * 16 + threadIdx.x);
  if (to_row < n && to_column < n)
    y[to_row * n + to_column] = tile[threadIdx.x][threadIdx.y] + 1000 * count + 1000000 * (rows[threadIdx.x * 16] - to_column);
}

TEST(SimtRuntime, SharedMemoryStaticAndDynamic) {
  for (const bool checked : {false, true}) {
    const Checks checks(checked);
    constexpr int n = 37;
    std::vector<int> values(n * n);
    std::iota(values.begin(), values.end(), 0);
    Buffer<int> x(values), y(n * n);
    launch("transpose", transpose_kernel, {{3, 3}, {16, 16}, 16 * 16 * sizeof(int)}, nullptr, x.data, y.data, n);
    const std::vector<int> result = y.values();
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j) {
        const int inside = std::min(16, n - i / 16 * 16) * std::min(16, n - j / 16 * 16);
        ASSERT_EQ(result[static_cast<size_t>(i * n + j)], j * n + i + 1000 * inside) << i << " " << j;
      }
  }
}

__global__ void atomics_kernel(int* y, unsigned* u, unsigned long long* wide) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(&y[0], i);
  atomicMax(&y[1], i % 1000);
  atomicMin(&y[2], -i);
  atomicAdd(wide, 1ull << 32);
  atomicMax(&u[0], static_cast<unsigned>(i) * 2654435761u);
  atomicOr(&u[1], 1u << (i % 32));
  atomicAnd(&u[2], ~(1u << (i % 7)));
  atomicExch(&y[3], 5);
  // Each increment through compare and swap, as code without atomicInc does it.
  int seen = y[4], expected;
  do {
    expected = seen;
    seen = atomicCAS(&y[4], expected, expected + 2);
  } while (seen != expected);
}

TEST(SimtRuntime, AtomicsOfManyBlocks) {
  constexpr int n = 64 * 256;
  Buffer<int> y(std::vector<int>{0, 0, 0, 0, 0});
  Buffer<unsigned> u(std::vector<unsigned>{0, 0, ~0u});
  Buffer<unsigned long long> wide(std::vector<unsigned long long>{0});
  launch("atomics", atomics_kernel, {64, 256}, nullptr, y.data, u.data, wide.data);
  unsigned largest = 0;
  for (unsigned i = 0; i < n; ++i) largest = std::max(largest, i * 2654435761u);
  EXPECT_EQ(y.values(), (std::vector<int>{n * (n - 1) / 2, 999, 1 - n, 5, 2 * n}));
  EXPECT_EQ(u.values(), (std::vector<unsigned>{largest, ~0u, ~0u << 7}));
  EXPECT_EQ(wide.values()[0], static_cast<unsigned long long>(n) << 32);
}

// The sum of all elements: blocks write partial sums, and the last one to come adds them.
__global__ void last_block_kernel(const int* x, int* partial, unsigned* ticket, int* total) {
  STAR_SHARED(bool, last, );
  const int sum = static_cast<int>(block_sum<64>(static_cast<float>(x[blockIdx.x * 64 + threadIdx.x])));
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    last = atomicAdd(ticket, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  int all = 0;
  for (unsigned i = threadIdx.x; i < gridDim.x; i += 64) all += partial[i];
  all = static_cast<int>(block_sum<64>(static_cast<float>(all)));
  if (threadIdx.x == 0) *total = all;
}

TEST(SimtRuntime, TheLastBlockSeesWhatTheOthersWrote) {
  for (const bool checked : {false, true}) {
    const Checks checks(checked);
    std::vector<int> values(100 * 64);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(i % 11);
    Buffer<int> x(values), partial(100), total(1);
    Buffer<unsigned> ticket(std::vector<unsigned>{0});
    launch("last_block", last_block_kernel, {100, 64}, nullptr, x.data, partial.data, ticket.data, total.data);
    EXPECT_EQ(total.values()[0], std::accumulate(values.begin(), values.end(), 0));
  }
}

TEST(SimtRuntime, ConversionFromEvery16BitValue) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const int sign = bits & 0x8000 ? -1 : 1;
    const int f16_exponent = bits >> 10 & 31, f16_mantissa = bits & 1023;
    const float f16_value = __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
    if (f16_exponent == 31 && f16_mantissa != 0) {
      ASSERT_TRUE(std::isnan(f16_value)) << bits;
    } else {
      const double expected = f16_exponent == 31  ? INFINITY
                              : f16_exponent == 0 ? std::ldexp(f16_mantissa, -24)
                                                  : std::ldexp(1024 + f16_mantissa, f16_exponent - 25);
      ASSERT_EQ(f16_value, static_cast<float>(sign * expected)) << bits;
      ASSERT_EQ(std::signbit(f16_value), sign < 0) << bits;
      ASSERT_EQ(__half_as_ushort(__float2half_rn(f16_value)), bits);
    }
    const int bf16_exponent = bits >> 7 & 255, bf16_mantissa = bits & 127;
    const float bf16_value = __bfloat162float(__ushort_as_bfloat16(static_cast<unsigned short>(bits)));
    if (bf16_exponent == 255 && bf16_mantissa != 0) {
      ASSERT_TRUE(std::isnan(bf16_value)) << bits;
    } else {
      const double expected = bf16_exponent == 255 ? INFINITY
                              : bf16_exponent == 0 ? std::ldexp(bf16_mantissa, -133)
                                                   : std::ldexp(128 + bf16_mantissa, bf16_exponent - 134);
      ASSERT_EQ(bf16_value, static_cast<float>(sign * expected)) << bits;
      ASSERT_EQ(__bfloat16_as_ushort(__float2bfloat16_rn(bf16_value)), bits);
    }
  }
  EXPECT_EQ(__half_as_ushort(__float2half_rn(NAN)), 0x7fff);
  EXPECT_EQ(__bfloat16_as_ushort(__float2bfloat16_rn(-NAN)), 0x7fff);
}

// Between every two neighbours: the middle goes to the even one, everything else to the nearer one. `last` is the largest finite
// number; above it, infinity stands where the next number would.
template <class FromBits, class ToBits>
void check_rounding(unsigned last, double beyond, FromBits from_bits, ToBits to_bits) {
  for (unsigned bits = 0; bits <= last; ++bits) {
    const double low = from_bits(bits), high = bits == last ? beyond : from_bits(bits + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(static_cast<double>(middle), (low + high) / 2) << "the middle must be exact";
    const unsigned even = bits & 1 ? bits + 1 : bits;
    ASSERT_EQ(to_bits(middle), even) << bits;
    ASSERT_EQ(to_bits(std::nextafterf(middle, 0.0f)), bits) << bits;
    ASSERT_EQ(to_bits(std::nextafterf(middle, INFINITY)), bits + 1) << bits;
    ASSERT_EQ(to_bits(-middle), even | 0x8000) << bits;
  }
  ASSERT_EQ(to_bits(INFINITY), last + 1);
}

TEST(SimtRuntime, RoundingToNearestEven) {
  check_rounding(
      0x7bff, 65536.0, [](unsigned bits) { return __half2float(__ushort_as_half(static_cast<unsigned short>(bits))); },
      [](float x) { return __half_as_ushort(__float2half_rn(x)); });
  // Between the subnormals of bfloat16 and above its largest number, floats continue with the same exponents.
  check_rounding(
      0x7f7f, std::ldexp(1.0, 128),
      [](unsigned bits) { return __bfloat162float(__ushort_as_bfloat16(static_cast<unsigned short>(bits))); },
      [](float x) { return __bfloat16_as_ushort(__float2bfloat16_rn(x)); });
}

// Matrices as the warp instructions take them, in shared memory: a (16, 16), b (16, 8) row by row.
template <class T>
__global__ void mma_kernel(const T* a, const T* b, const float* c, float* d, float* d_loaded) {
  STAR_SHARED(T, a_rows, [16][16]);
  STAR_SHARED(T, b_rows, [16][8]);
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4 * 2;
  for (int i = lane; i < 256; i += 32) a_rows[i / 16][i % 16] = a[i];
  for (int i = lane; i < 128; i += 32) b_rows[i / 8][i % 8] = b[i];
  __syncthreads();
  const auto pair = [](T low, T high) {
    uint16_t bits[2];
    memcpy(&bits[0], &low, 2);
    memcpy(&bits[1], &high, 2);
    return bits[0] | static_cast<uint32_t>(bits[1]) << 16;
  };
  // Fragments as the PTX ISA draws them.
  const uint32_t fragment_a[4] = {pair(a_rows[g][t], a_rows[g][t + 1]), pair(a_rows[g + 8][t], a_rows[g + 8][t + 1]),
                                  pair(a_rows[g][t + 8], a_rows[g][t + 9]), pair(a_rows[g + 8][t + 8], a_rows[g + 8][t + 9])};
  const uint32_t fragment_b[2] = {pair(b_rows[t][g], b_rows[t + 1][g]), pair(b_rows[t + 8][g], b_rows[t + 9][g])};
  const float fragment_c[4] = {c[g * 8 + t], c[g * 8 + t + 1], c[(g + 8) * 8 + t], c[(g + 8) * 8 + t + 1]};
  float result[4];
  mma_m16n8k16(result, fragment_a, fragment_b, fragment_c, T{});
  // And loaded by the warp: b through a transposition, as its columns are what a lane needs.
  uint32_t loaded_a[4], loaded_b[2];
  ldmatrix_x4(loaded_a, &a_rows[lane % 16][lane / 16 * 8]);
  ldmatrix_x2_trans(loaded_b, &b_rows[lane % 16][0]);
  float loaded[4] = {fragment_c[0], fragment_c[1], fragment_c[2], fragment_c[3]};
  mma_m16n8k16(loaded, loaded_a, loaded_b, loaded, T{});
  for (int i = 0; i < 4; ++i) {
    d[(g + i / 2 * 8) * 8 + t + i % 2] = result[i];
    d_loaded[(g + i / 2 * 8) * 8 + t + i % 2] = loaded[i];
  }
}

template <class T>
void check_mma() {
  const DType dtype = std::is_same_v<T, f16> ? DType::F16 : DType::BF16;
  const std::vector<float> a = rounded(random_values(256, 1), dtype), b = rounded(random_values(128, 2), dtype);
  const std::vector<float> c = random_values(128, 3);
  Buffer<T> a_device(std::vector<T>(a.begin(), a.end())), b_device(std::vector<T>(b.begin(), b.end()));
  Buffer<float> c_device(c), d(128), d_loaded(128);
  launch("mma", mma_kernel<T>, {1, 32}, nullptr, a_device.data, b_device.data, c_device.data, d.data, d_loaded.data);
  std::vector<double> expected(c.begin(), c.end());
  for (size_t row = 0; row < 16; ++row)
    for (size_t column = 0; column < 8; ++column)
      for (size_t k = 0; k < 16; ++k)
        expected[row * 8 + column] += static_cast<double>(a[row * 16 + k]) * static_cast<double>(b[k * 8 + column]);
  expect_close("mma", d.values(), expected, DType::F32);
  EXPECT_EQ(d_loaded.values(), d.values());
}

TEST(SimtRuntime, MatrixProductOfF16) { check_mma<f16>(); }
TEST(SimtRuntime, MatrixProductOfBf16) { check_mma<bf16>(); }

__global__ void ldmatrix_kernel(uint32_t* y) {
  STAR_SHARED(uint16_t, tile, [32][8]);  // element = 8·row + column
  for (unsigned i = threadIdx.x; i < 256; i += 32) tile[i / 8][i % 8] = static_cast<uint16_t>(i);
  __syncthreads();
  uint32_t four[4], four_trans[4], two[2], two_trans[2];
  const uint16_t* row = tile[threadIdx.x];
  ldmatrix_x4(four, row);
  ldmatrix_x4_trans(four_trans, row);
  ldmatrix_x2(two, row);
  ldmatrix_x2_trans(two_trans, row);
  uint32_t* out = y + threadIdx.x * 12;
  for (int i = 0; i < 4; ++i) out[i] = four[i];
  for (int i = 0; i < 4; ++i) out[4 + i] = four_trans[i];
  for (int i = 0; i < 2; ++i) out[8 + i] = two[i];
  for (int i = 0; i < 2; ++i) out[10 + i] = two_trans[i];
}

TEST(SimtRuntime, MatrixLoads) {
  Buffer<uint32_t> y(32 * 12);
  launch("ldmatrix", ldmatrix_kernel, {1, 32}, nullptr, y.data);
  const std::vector<uint32_t> values = y.values();
  for (uint32_t lane = 0; lane < 32; ++lane)
    for (uint32_t i = 0; i < 12; ++i) {
      const uint32_t matrix = i < 8 ? i % 4 : i % 2, row = lane / 4, column = lane % 4 * 2;
      const bool transposed = (i >= 4 && i < 8) || i >= 10;
      const uint32_t low = 64 * matrix + (transposed ? 8 * column + row : 8 * row + column);
      EXPECT_EQ(values[lane * 12 + i], low | (low + (transposed ? 8 : 1)) << 16) << "lane " << lane << ", register " << i;
    }
}

// Adds up `tiles` tiles of 32 float4 through two buffers; rows from `count` on are not there.
__global__ void pipeline_kernel(const float* x, float* y, int tiles, int count) {
  STAR_SHARED(float4, buffer, [2][32]);
  const int lane = static_cast<int>(threadIdx.x);
  const auto fetch = [&](int tile) {
    const bool valid = tile * 32 + lane < count;
    cp_async_16(&buffer[tile % 2][lane], x + (valid ? (tile * 32 + lane) * 4 : 0), valid);
    cp_async_commit();
  };
  float sum = 0;
  fetch(0);
  for (int tile = 0; tile < tiles; ++tile) {
    if (tile + 1 < tiles) {
      fetch(tile + 1);
      cp_async_wait<1>();
    } else {
      cp_async_wait<0>();
    }
    __syncthreads();
    const float4 v = buffer[tile % 2][31 - lane];
    sum += v.x + v.y + v.z + v.w;
    __syncthreads();
  }
  y[lane] = sum;
}

TEST(SimtRuntime, AsynchronousCopies) {
  for (const bool checked : {false, true}) {
    const Checks checks(checked);
    const std::vector<float> x = random_values(5 * 128, 4);
    Buffer<float> x_device(x), y(32);
    launch("pipeline", pipeline_kernel, {1, 32}, nullptr, x_device.data, y.data, 5, 150);
    const std::vector<float> given = y.values();
    for (size_t lane = 0; lane < 32; ++lane) {
      float expected = 0;
      for (size_t row = 31 - lane; row < 150; row += 32)
        expected += x[4 * row] + x[4 * row + 1] + x[4 * row + 2] + x[4 * row + 3];
      EXPECT_EQ(given[lane], expected) << lane;
    }
  }
}

__global__ void add_kernel(int* x, int by) { x[threadIdx.x] += by; }

TEST(SimtRuntime, CapturedWorkRunsAtEachLaunchOfTheGraph) {
  Buffer<int> x(std::vector<int>(32, 0));
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  int* scratch = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "test");
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "test");
  check_cuda(cudaMallocAsync(reinterpret_cast<void**>(&scratch), 32 * sizeof(int), stream), "test");
  check_cuda(cudaMemsetAsync(scratch, 0, 32 * sizeof(int), stream), "test");
  launch("add", add_kernel, {1, 32}, stream, scratch, 3);
  launch("add", add_kernel, {1, 32}, stream, x.data, 4);
  check_cuda(cudaFreeAsync(scratch, stream), "test");
  check_cuda(cudaStreamEndCapture(stream, &graph), "test");
  EXPECT_EQ(x.values()[31], 0) << "nothing runs while it is captured";
  check_cuda(cudaGraphInstantiate(&executable, graph), "test");
  check_cuda(cudaGraphDestroy(graph), "test");
  for (int i = 0; i < 3; ++i) check_cuda(cudaGraphLaunch(executable, stream), "test");
  EXPECT_EQ(x.values()[31], 12);
  check_cuda(cudaGraphExecDestroy(executable), "test");
  check_cuda(cudaStreamDestroy(stream), "test");
}

}  // namespace
}  // namespace star::test
