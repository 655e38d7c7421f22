// The audit: runs of any size pass through it, and what a GPU would refuse is found without being computed.
#include "core/tensor.h"
#include "cuda/cuda_backend.h"
#include "simt/audit.h"
#include "simt/recording_backend.h"
#include "simt_support.h"

namespace star::test {
namespace {

// Tensors as ops take them, on the backend under test, without values.
class Space {
 public:
  Ref operator()(int64_t count, DType dtype = DType::F32) {
    tensors_.push_back(Tensor::empty(backend(), Shape{count}, dtype));
    return tensors_.back().ref();
  }

 private:
  std::vector<Tensor> tensors_;
};

std::string record() { return dynamic_cast<simt::RecordingBackend&>(backend()).take_record(); }

__global__ void nothing_kernel(int*) {}

TEST(SimtAudit, GridsBeyondWhatAGpuHas) {
  const Audit audit;
  Buffer<int> x(1);
  EXPECT_EQ(problem(false, nothing_kernel, {{1, 65535, 65535}, 32}, x.data), "");
  EXPECT_TRUE(contains(problem(false, nothing_kernel, {{1, 65536}, 32}, x.data), "invalid configuration argument"));
  EXPECT_TRUE(contains(problem(false, nothing_kernel, {{1, 1, 65536}, 32}, x.data), "invalid configuration argument"));
}

__global__ void shared_kernel(float* y, bool both) {
  float* const row = dynamic_shared<float>();
  row[threadIdx.x] = 1.0f;
  if (both) {
    STAR_SHARED(float, other, [8192]);
    other[threadIdx.x] = row[threadIdx.x];
  }
  y[threadIdx.x] = row[threadIdx.x];
}

TEST(SimtAudit, SharedMemoryOfEachGeneration) {
  const size_t kib = 1024;
  for (const auto& [capability, most] : {std::pair<int, size_t>{80, 163}, {86, 99}, {89, 99}, {90, 227}, {100, 227}, {120, 99}}) {
    SCOPED_TRACE(capability);
    const Audit audit(capability);
    Buffer<float> y(64);
    EXPECT_EQ(problem(false, shared_kernel, {1, 64, most * kib}, y.data, false), "");
    EXPECT_NE(problem(false, shared_kernel, {1, 64, (most + 1) * kib}, y.data, false), "");
    // Static memory counts too.
    EXPECT_EQ(problem(false, shared_kernel, {1, 64, (most - 32) * kib}, y.data, true), "");
    EXPECT_TRUE(
        contains(problem(false, shared_kernel, {1, 64, (most - 31) * kib}, y.data, true), "shared memory exceeds its limit"));
  }
}

__global__ void vectors_kernel(float* y, const float* x, int64_t count) {
  const int64_t i = 4 * (int64_t{blockIdx.x} * blockDim.x + threadIdx.x);
  if (i < count) store_vector<4>(y + i, load_vector<4>(x + i));
}

TEST(SimtAudit, MisalignedVectors) {
  const Audit audit;
  Buffer<float> x(4100), y(4100);
  EXPECT_EQ(problem(false, vectors_kernel, {4, 256}, y.data, x.data, int64_t{4096}), "");
  const std::string loads = problem(false, vectors_kernel, {4, 256}, y.data, x.data + 1, int64_t{4096});
  EXPECT_TRUE(contains(
      loads, "kernel star::test::(anonymous namespace)::vectors_kernel, block (0, 0, 0), thread (0, 0, 0): a vector load at "));
  EXPECT_TRUE(contains(loads, "the address is not a multiple of 16"));
  EXPECT_TRUE(contains(problem(false, vectors_kernel, {4, 256}, y.data + 2, x.data, int64_t{4096}), "a vector store at "));
}

TEST(SimtAudit, MemoryThatIsGone) {
  const Audit audit;
  Buffer<float> y(64);
  float* gone = nullptr;
  {
    const Buffer<float> x(64);
    gone = x.data;
  }
  EXPECT_TRUE(contains(problem(false, vectors_kernel, {1, 16}, y.data, gone, int64_t{64}), "memory that was given back"));
}

TEST(SimtAudit, ReadsOfTheHostInARecording) {
  const Audit audit;
  const Tensor x = Tensor::empty(backend(), Shape{4}, DType::F32);
  float values[4];
  backend().begin_capture();
  EXPECT_TRUE(contains(thrown([&] { backend().copy_to_host(values, x.data(), sizeof values); }),
                       "ERR_DEVICE copy to the host inside a recording"));
  EXPECT_TRUE(contains(thrown([&] { backend().copy_from_host(x.data(), values, sizeof values); }),
                       "ERR_DEVICE copy from the host inside a recording"));
  EXPECT_TRUE(contains(thrown([&] { backend().synchronize(); }), "ERR_DEVICE synchronize inside a recording"));
  backend().end_capture(false);
  backend().copy_from_host(x.data(), values, sizeof values);
}

// A grid ends at 65,535 blocks in y and z. The gradient of a large weight's cast, wide images and codebooks have more tiles.
TEST(SimtAudit, MoreTilesThanAGridHasInY) {
  const Audit audit;
  Space make;
  const DType b = DType::BF16;
  const int64_t weight = 16896000;  // d30 at 1024²
  backend().reduce({make(weight, b), make(2 * weight, b), ReduceOp::Sum, 1.0f, 2, weight, 1});
  const int64_t c = 65536 * 32 + 1;
  backend().group_norm({make(c), make(1), make(1), make(c), make(c), make(c), 1, 1, c, 1, 1e-6f, false});
  backend().group_norm_backward(
      {make(c), make(c), make(c), make(c), make(c), make(1), make(1), make(c), make(c), 1, 1, c, 1, false});
  const int64_t wide = 65536 * 128 + 1;
  backend().resample({make(2 * wide), make(2 * wide), Resample::Area, 1, 2, 1, wide, 2, 1});
  backend().gumbel_mix({make(c), make(1), make(1), make(c), 1, 1, c, 0, 0.0f, 1.0f, 1.0f});
}

// A terabyte of values, on a machine that has none of it.
TEST(SimtAudit, MemoryIsReservedAndNotTouched) {
  const Audit audit;
  Space make;
  const int64_t count = int64_t{1} << 38;
  const Ref x = make(count), y = make(1);
  backend().fill({x, 1.0, count});
  backend().reduce({y, x, ReduceOp::Sum, 1.0f, 1, 1, count});
  float sum = 1;
  backend().copy_to_host(&sum, y.data, sizeof sum);
  const Environment small("STAR_SIMT_MACHINE", "memory=8e9");
  EXPECT_TRUE(contains(thrown([&] { make(3'000'000'000); }), "ERR_MEMORY allocate"));
}

TEST(SimtAudit, WhatIsGivenIsCounted) {
  const Audit audit;
  Space make;
  record();
  const Ref x = make(64 * 32), w = make(16 * 32), y = make(64 * 16);
  for (int i = 0; i < 3; ++i) {
    MatmulArgs product{};
    product.c = y, product.a = x, product.b = w, product.batch = 1, product.m = 64, product.n = 16, product.k = 32;
    product.trans_b = true;
    backend().matmul(product);
  }
  const std::string given = record();
  EXPECT_TRUE(contains(given,
                       "{\"op\":\"matmul\",\"shape\":\"1x64x16x32\",\"dtype\":\"f32\",\"calls\":3,\"operations\":196608,"
                       "\"bytes\":43008,\"launches\":0,\"libraryCalls\":3}"));
  EXPECT_TRUE(contains(record(), "\"ops\":[]"));
}

}  // namespace
}  // namespace star::test
