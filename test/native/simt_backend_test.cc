// What the CUDA backend asks of the driver, and what it does when that says no: devices of threads, recordings, memory that has
// run out.
#include <atomic>
#include <thread>

#include "core/tensor.h"
#include "cuda/cuda_backend.h"
#include "simt/audit.h"
#include "simt_support.h"

namespace star::test {
namespace {

TEST(SimtBackend, PropertiesAreAskedOnce) {
  CudaBackend own("simt");
  const uint64_t before = simt::counts().property_calls;
  std::string reason;
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(own.available(&reason));
  EXPECT_EQ(simt::counts().property_calls - before, 1u);
}

// A process takes one GPU of its machine on all of its threads.
TEST(SimtBackend, EveryThreadUsesTheChosenDevice) {
  const Environment machine("STAR_SIMT_MACHINE", "devices=4");
  CudaBackend own("simt");
  own.select(3);
  int allocated = -1, streamed = -1;
  std::thread([&] {
    own.release(own.allocate(16), 16);
    cudaGetDevice(&allocated);
  }).join();
  std::thread([&] {
    own.stream();
    cudaGetDevice(&streamed);
  }).join();
  cudaSetDevice(0);
  EXPECT_EQ(allocated, 3);
  EXPECT_EQ(streamed, 3);
}

// Work of another thread is no part of a recording: it waits for the end.
TEST(SimtBackend, OtherThreadsWaitForTheEndOfARecording) {
  const Tensor x = Tensor::empty(backend(), Shape{1}, DType::F32), y = Tensor::empty(backend(), Shape{1}, DType::F32);
  backend().fill({x.ref(), 1.0, 1});
  backend().fill({y.ref(), 1.0, 1});
  backend().begin_capture();
  std::atomic<bool> came{false}, done{false};
  std::thread other([&] {
    came = true;
    backend().fill({y.ref(), 2.0, 1});
    done = true;
  });
  while (!came) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(done);
  backend().affine({x.ref(), x.ref(), {}, 3.0f, 0.0f, 0.0f, 1});
  const int64_t graph = backend().end_capture(true);
  other.join();
  float values[2];
  backend().copy_to_host(&values[0], x.data(), sizeof(float));
  backend().copy_to_host(&values[1], y.data(), sizeof(float));
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], 2.0f);
  backend().fill({y.ref(), 5.0, 1});
  backend().launch_graph(graph);
  backend().copy_to_host(&values[0], x.data(), sizeof(float));
  backend().copy_to_host(&values[1], y.data(), sizeof(float));
  EXPECT_EQ(values[0], 3.0f);
  EXPECT_EQ(values[1], 5.0f);
  backend().destroy_graph(graph);
}

TEST(SimtBackend, RecordingsThatFail) {
  EXPECT_TRUE(contains(thrown([] { backend().end_capture(true); }), "no recording has begun"));
  const Tensor x = Tensor::empty(backend(), Shape{1}, DType::F32);
  backend().fill({x.ref(), 1.0, 1});
  backend().begin_capture();
  EXPECT_TRUE(contains(thrown([] { backend().begin_capture(); }), "inside a recording"));
  backend().end_capture(false);
  // What came before an error is not done, and the device works on.
  float value = 0;
  backend().copy_to_host(&value, x.data(), sizeof value);
  EXPECT_EQ(value, 1.0f);
}

TEST(SimtBackend, GraphsHoldTheirMemory) {
  const auto before = backend().memory().cached_bytes;
  backend().begin_capture();
  backend().release(backend().allocate(4096), 4096);
  const int64_t graph = backend().end_capture(true);
  EXPECT_EQ(backend().memory().cached_bytes, before + 4096);
  backend().destroy_graph(graph);
  EXPECT_EQ(backend().memory().cached_bytes, before);
}

// A start that fails leaves nothing behind, and the next one works.
TEST(SimtBackend, StartWithoutMemory) {
  CudaBackend own("simt");
  {
    const Environment machine("STAR_SIMT_MACHINE", "memory=1");
    EXPECT_TRUE(contains(thrown([&] { own.allocate(16); }), "ERR_MEMORY opening the GPU"));
  }
  own.release(own.allocate(16), 16);
}

ConvShape convolution(int64_t n, int64_t side, int64_t channels) {
  ConvShape s{};
  s.n = n, s.h = s.w = s.oh = s.ow = side, s.c_in = s.c_out = channels, s.kh = s.kw = 3, s.stride = 1;
  s.pad_top = s.pad_left = s.pad_bottom = s.pad_right = 1;
  return s;
}

// The algorithm that comes first wants a workspace that there is no memory for: the next one wants none.
TEST(SimtBackend, ConvolutionWithoutMemoryForAWorkspace) {
  CudaBackend own("simt");
  const ConvShape s = convolution(1, 6, 8);
  const auto make = [&](int64_t count) { return Tensor::empty(own, Shape{count}, DType::F32); };
  const Tensor x = make(6 * 6 * 8), w = make(8 * 8 * 9), y = make(6 * 6 * 8), z = make(6 * 6 * 8);
  own.fill({x.ref(), 0.5, x.count()});
  own.fill({w.ref(), 0.25, w.count()});
  own.conv2d({z.ref(), x.ref(), w.ref(), {}, s});
  {
    // Room for the weights in cuDNN's order, and nothing else.
    const uint64_t used = own.memory().live_bytes;
    uint64_t all = 0;
    cudaMemPool_t pool = nullptr;
    check_cuda(cudaDeviceGetDefaultMemPool(&pool, 0), "test");
    check_cuda(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &all), "test");
    ASSERT_GE(all, used);
    const Environment machine("STAR_SIMT_MACHINE", "memory=" + std::to_string(all + 8 * 8 * 9 * sizeof(float) + 16));
    own.conv2d({y.ref(), x.ref(), w.ref(), {}, s});
  }
  std::vector<float> values(static_cast<size_t>(y.count())), expected(values.size());
  own.copy_to_host(values.data(), y.data(), y.bytes());
  own.copy_to_host(expected.data(), z.data(), z.bytes());
  EXPECT_EQ(values, expected);
}

// cuDNN takes tensors of less than 2³¹ elements.
TEST(SimtBackend, ConvolutionsOfMoreElementsThanCudnnTakes) {
  const Audit audit;
  CudaBackend own("simt");
  const ConvShape s = convolution(24, 1024, 160);
  const int64_t count = s.n * s.h * s.w * s.c_in;
  ASSERT_GT(count, INT32_MAX);
  const DType b = DType::BF16;
  const auto make = [&](int64_t n) { return Tensor::empty(own, Shape{n}, b); };
  const Tensor x = make(count), y = make(count), w = make(160 * 160 * 9), bias = make(160);
  own.conv2d({y.ref(), x.ref(), w.ref(), bias.ref(), s});
  own.conv2d_backward_data({x.ref(), y.ref(), w.ref(), s});
  own.conv2d_backward_weight({w.ref(), bias.ref(), y.ref(), x.ref(), s});
}

}  // namespace
}  // namespace star::test
