// The backend's collectives in a world of one: what can be tried on a machine with one GPU.
#include "core/collectives.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "support.h"

namespace star::test {
namespace {

class World : public testing::Test {
 protected:
  void SetUp() override {
    if (backend().collectives_engine() == nullptr) GTEST_SKIP() << backend().name() << " has no collectives of its own";
    world_ = backend().connect(backend().collectives_id(), 0, 1, [] {});
  }
  Collectives& world() { return *world_; }

 private:
  std::unique_ptr<Collectives> world_;
};

TEST_F(World, OneGetsWhatItGives) {
  for (const DType dtype : kFloats) {
    const std::vector<float> values = rounded(random_values(1003, 1), dtype);
    const DeviceTensor sum = upload(values, dtype), spread = upload(values, dtype), in = upload(values, dtype);
    const DeviceTensor part = empty(1003, dtype), all = empty(1003, dtype);
    world().all_reduce(sum, 1003, Reduction::Sum);
    world().broadcast(spread, 1003, 0);
    world().reduce_scatter(part, in, 1003);
    world().all_gather(all, in, 1003);
    world().mark()->wait();
    for (const DeviceTensor* tensor : {&sum, &spread, &part, &all}) EXPECT_EQ(tensor->values(), values);
  }
  const std::vector<int32_t> integers = random_integers(77, 1, -100, 100);
  const DeviceTensor least = upload(integers), largest = upload(integers);
  world().all_reduce(least, 77, Reduction::Min);
  world().all_reduce(largest, 77, Reduction::Max);
  world().mark()->wait();
  EXPECT_EQ(least.integers(), integers);
  EXPECT_EQ(largest.integers(), integers);
}

TEST_F(World, CollectivesFollowTheBackendsWork) {
  const int64_t count = 1 << 20;
  const DeviceTensor x = upload(std::vector<float>(count, 1.0f)), copy = empty(count);
  for (int i = 0; i < 10; ++i) {
    backend().affine({x, x, {}, 2.0f, 0.0f, 0.0f, count});
    world().all_reduce(x, count, Reduction::Sum);
    world().mark()->wait();
  }
  backend().copy(copy.ref().data, x.ref().data, static_cast<size_t>(count) * sizeof(float));
  EXPECT_EQ(copy.values(), std::vector<float>(count, 1024.0f));
}

TEST_F(World, ABatchBeginsAtItsEnd) {
  std::vector<DeviceTensor> tensors;
  for (int i = 0; i < 50; ++i) tensors.push_back(upload(std::vector<float>(static_cast<size_t>(i + 1), static_cast<float>(i))));
  world().begin_batch();
  for (const DeviceTensor& tensor : tensors) world().broadcast(tensor, tensor.count, 0);
  world().end_batch();
  const std::unique_ptr<StreamMark> mark = world().mark();
  mark->wait();
  backend().synchronize();
  EXPECT_TRUE(mark->reached());
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(tensors[static_cast<size_t>(i)].values(), std::vector<float>(static_cast<size_t>(i + 1), static_cast<float>(i)));
}

TEST_F(World, BytesAreNotReduced) {
  const DeviceTensor bytes = upload(std::vector<uint8_t>{1, 2, 3});
  EXPECT_THROW(world().all_reduce(bytes, 3, Reduction::Sum), Error);
}

TEST_F(World, WhatIsBrokenOffIsNoResult) {
  const DeviceTensor x = upload(std::vector<float>{1, 2, 3});
  world().abort("rank 1 has ended");
  world().abort("another reason");
  try {
    world().all_reduce(x, 3, Reduction::Sum);
    ADD_FAILURE() << "a collective after the end";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Comm);
    EXPECT_STREQ(error.what(), "rank 1 has ended");
  }
  EXPECT_THROW(x.values(), Error);
  backend().connect(backend().collectives_id(), 0, 1, [] {});  // a new group makes the backend usable again
  EXPECT_EQ(x.values(), (std::vector<float>{1, 2, 3}));
}

}  // namespace
}  // namespace star::test
