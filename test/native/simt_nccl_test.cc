// How NCCL is called: order, groups, what comes of each error code, and of collectives that never end. Its stand-in keeps the
// calls.
#include <chrono>
#include <thread>

#include "comm/device_group.h"
#include "cuda/cuda_backend.h"
#include "simt/nccl.h"
#include "simt_support.h"

namespace star::test {
namespace {

using Calls = std::vector<std::string>;

class Nccl : public testing::Test {
 protected:
  void SetUp() override { simt::nccl_calls(); }
  void TearDown() override {
    simt::nccl_break(ncclSuccess);
    simt::nccl_calls();
  }

  std::unique_ptr<Collectives> alone() {
    return backend_.connect(backend_.collectives_id(), 0, 1, [] {});
  }

  Tensor tensor(const std::vector<float>& values) {
    Tensor t = Tensor::empty(backend_, Shape{static_cast<int64_t>(values.size())}, DType::F32);
    backend_.copy_from_host(t.data(), values.data(), t.bytes());
    return t;
  }
  std::vector<float> values(const Tensor& t) {
    std::vector<float> v(static_cast<size_t>(t.count()));
    backend_.copy_to_host(v.data(), t.data(), t.bytes());
    return v;
  }

  std::shared_ptr<ProcessGroup> group(std::chrono::milliseconds timeout) {
    GroupOptions options;
    options.store = {"127.0.0.1", 29611, 100, "simt_nccl_test"};
    options.timeout = timeout;
    return make_device_group(backend_, options);
  }

  CudaBackend backend_{"simt"};
};

TEST_F(Nccl, IsCalledInOrderFromStartToEnd) {
  {
    const auto world = alone();
    const Tensor t = tensor({1, 2, 3, 4});
    world->broadcast(t.ref(), 4, 0);
    world->all_reduce(t.ref(), 4, Reduction::Max);
    world->reduce_scatter(t.ref(), t.ref(), 4);
    world->all_gather(t.ref(), t.ref(), 4);
  }
  EXPECT_EQ(simt::nccl_calls(),
            (Calls{"ncclGetUniqueId", "ncclCommInitRankConfig 0 of 1", "ncclBroadcast 4 of type 7", "ncclAllReduce 4 of type 7",
                   "ncclReduceScatter 4 of type 7", "ncclAllGather 4 of type 7", "ncclCommFinalize", "ncclCommDestroy"}));
}

TEST_F(Nccl, ABatchStandsBetweenGroupStartAndGroupEnd) {
  const auto world = group(std::chrono::seconds(5));
  const Tensor a = tensor({1}), b = tensor({2, 3});
  simt::nccl_calls();
  world->begin_batch();
  const auto first = world->broadcast(a, 0), second = world->broadcast(b, 0);
  EXPECT_THROW(first->wait(), Error) << "before the batch has begun";
  world->end_batch();
  first->wait();
  second->wait();
  EXPECT_EQ(simt::nccl_calls(),
            (Calls{"ncclGroupStart", "ncclBroadcast 1 of type 7", "ncclBroadcast 2 of type 7", "ncclGroupEnd"}));
  EXPECT_EQ(values(b), (std::vector<float>{2, 3}));
}

TEST_F(Nccl, NothingIsGivenForNoElements) {
  const auto world = group(std::chrono::seconds(5));
  simt::nccl_calls();
  world->all_reduce(tensor({}), Reduction::Sum)->wait();
  EXPECT_EQ(simt::nccl_calls(), Calls{});
}

TEST_F(Nccl, EveryErrorCodeIsNamedAndEndsTheGroup) {
  const struct {
    const char* function;
    ncclResult_t result;
    const char* words;
  } cases[] = {
      {"ncclAllReduce", ncclUnhandledCudaError, "unhandled cuda error"},
      {"ncclAllReduce", ncclSystemError, "unhandled system error"},
      {"ncclAllReduce", ncclInternalError, "internal error"},
      {"ncclAllReduce", ncclInvalidArgument, "invalid argument"},
      {"ncclAllReduce", ncclInvalidUsage, "invalid usage"},
      {"ncclAllReduce", ncclRemoteError, "remote process exited"},
  };
  for (const auto& one : cases) {
    const auto world = group(std::chrono::seconds(5));
    const Tensor t = tensor({1, 2});
    simt::nccl_calls();
    simt::nccl_fail(one.function, one.result);
    const auto work = world->all_reduce(t, Reduction::Sum);
    const std::string words = thrown([&] { work->wait(); });
    EXPECT_NE(words.find(one.words), std::string::npos) << words;
    EXPECT_EQ(words.rfind("ERR_COMM ", 0), 0u) << words;
    EXPECT_TRUE(work->done());
    EXPECT_EQ(thrown([&] { world->all_reduce(t, Reduction::Sum)->wait(); }), words) << "the same afterwards";
    EXPECT_EQ(thrown([&] { values(t); }), words) << "what the device holds is no result";
    EXPECT_EQ(simt::nccl_calls(), (Calls{"ncclAllReduce 2 of type 7", "ncclCommAbort"}));
  }
}

TEST_F(Nccl, StartThatFailsSaysSo) {
  simt::nccl_fail("ncclGetUniqueId", ncclSystemError);
  EXPECT_NE(thrown([&] { alone(); }).find("ERR_COMM NCCL: id of a group: unhandled system error"), std::string::npos);
  simt::nccl_fail("ncclCommInitRankConfig", ncclInvalidUsage);
  EXPECT_NE(thrown([&] { alone(); }).find("ERR_COMM NCCL: connecting the GPUs: invalid usage"), std::string::npos);
  EXPECT_NE(thrown([&] { backend_.connect("short", 0, 1, [] {}); }).find("5 bytes, expected 128"), std::string::npos);
}

TEST_F(Nccl, BatchThatFailsSaysSo) {
  for (const char* function : {"ncclGroupStart", "ncclGroupEnd"}) {
    const auto world = group(std::chrono::seconds(5));
    simt::nccl_fail(function, ncclInternalError);
    const std::string words = thrown([&] {
      world->begin_batch();
      world->end_batch();
    });
    EXPECT_NE(words.find("ERR_COMM"), std::string::npos) << words;
    EXPECT_NE(words.find("NCCL: batch: internal error"), std::string::npos) << words;
  }
}

// The state of the communicator turns bad while a training computes: the watch sees it.
TEST_F(Nccl, AnErrorOfTheNetworkEndsTheGroup) {
  const auto world = group(std::chrono::seconds(60));
  const Tensor t = tensor({1, 2});
  world->all_reduce(t, Reduction::Sum)->wait();
  simt::nccl_calls();
  simt::nccl_break(ncclRemoteError);
  std::string words = "nothing";
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (words == "nothing" && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    words = thrown([&] { values(t); });
  }
  EXPECT_NE(words.find("ERR_COMM the connection between processes broke: NCCL: collective: remote process exited"),
            std::string::npos)
      << words;
  EXPECT_EQ(simt::nccl_calls(), Calls{"ncclCommAbort"});
}

// The device waits for ranks that never come: the host waits for the device, until the time is over.
TEST_F(Nccl, ACollectiveThatNeverEndsIsBrokenOff) {
  const auto world = group(std::chrono::seconds(2));
  const Tensor t = tensor({1, 2});
  const auto before = world->all_reduce(t, Reduction::Sum);
  simt::nccl_calls();
  simt::nccl_hang();
  const auto work = world->all_reduce(t, Reduction::Sum);
  EXPECT_TRUE(before->done());
  EXPECT_FALSE(work->done());
  work->wait();  // the device's stream waits, the host continues
  const std::string words = thrown([&] { values(t); });
  EXPECT_NE(words.find("ERR_COMM the connection between processes broke: a collective did not end"), std::string::npos) << words;
  EXPECT_TRUE(work->done());
  EXPECT_EQ(thrown([&] { work->wait(); }), words);
  EXPECT_EQ(simt::nccl_calls(), (Calls{"ncclAllReduce 2 of type 7", "ncclCommAbort"}));
}

// The place of a process on its machine chooses the device.
TEST_F(Nccl, EachProcessOfAMachineTakesItsOwnDevice) {
  const auto chosen = [](const char* machine, int index) {
    setenv("STAR_SIMT_MACHINE", machine, 1);
    CudaBackend own("simt");
    int device = -1;
    const std::string words = thrown([&] {
      own.select(index);
      const float one = 1;
      const Tensor t = Tensor::empty(own, Shape{1}, DType::F32);
      own.copy_from_host(t.data(), &one, sizeof one);
      const auto world = own.connect(own.collectives_id(), 0, 1, [] {});
      world->all_reduce(t.ref(), 1, Reduction::Sum);
      cudaGetDevice(&device);
    });
    unsetenv("STAR_SIMT_MACHINE");
    cudaSetDevice(0);
    return words == "nothing" ? std::to_string(device) : words;
  };
  EXPECT_EQ(chosen("devices=4", 0), "0");
  EXPECT_EQ(chosen("devices=4", 3), "3");
  EXPECT_EQ(chosen("devices=1", 3), "0") << "each process is shown one GPU";
  EXPECT_NE(chosen("devices=2", 2).find("ERR_DEVICE this is process 2 of its machine, counted from 0, but 2 GPUs"),
            std::string::npos);
}

// Two ranks as threads, with a device each.
TEST_F(Nccl, RanksWhoseCollectivesDoNotFitAreTold) {
  const std::string id = backend_.collectives_id();
  std::string words[2];
  const auto rank = [&](int r) {
    CudaBackend own("simt");
    words[r] = thrown([&] {
      const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      const auto world = own.connect(id, r, 2, [&] {
        if (std::chrono::steady_clock::now() > until) fail(ErrorCode::Comm, "waited in vain");
      });
      const Tensor t = Tensor::empty(own, Shape{r + 1}, DType::F32);
      const float ones[2] = {1, 1};
      own.copy_from_host(t.data(), ones, t.bytes());
      world->all_reduce(t.ref(), r + 1, Reduction::Sum);
    });
  };
  std::thread other(rank, 1);
  rank(0);
  other.join();
  for (const std::string& said : words) EXPECT_NE(said.find("calls another collective than"), std::string::npos) << said;
}

}  // namespace
}  // namespace star::test
