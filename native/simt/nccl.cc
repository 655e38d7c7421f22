// NCCL for the simt build: ranks are threads or processes of this machine that meet in shared memory. Communicators must be
// non-blocking: a collective that waits for other ranks makes its progress in ncclCommGetAsyncError. Stricter than the library in
// one point: ranks whose collectives do not fit together are told so.
#include "simt/nccl.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>

#include "simt/elements.h"
#include "simt/stream.h"

namespace {

using star::simt::Element;

constexpr int kMaxRanks = 16;
constexpr size_t kSlotBytes = 1 << 18;  // a rank's part of a collective travels in pieces of this size

enum class Kind : int { AllReduce, ReduceScatter, AllGather, Broadcast, Barrier };

struct Shape {
  Kind kind = Kind::Barrier;
  int type = 0, op = 0, root = 0;
  uint64_t count = 0;
  bool operator==(const Shape&) const = default;
};

// What the ranks share; memory that nobody has written yet is zero, which is its first state.
struct Board {
  std::atomic<int> arrived, round;
  Shape shapes[kMaxRanks];
  alignas(64) char slots[kMaxRanks][kSlotBytes];
};
static_assert(std::atomic<int>::is_always_lock_free);

struct Operation {
  Shape shape;
  const char* in = nullptr;
  char* out = nullptr;
  std::shared_ptr<std::atomic<bool>> held;  // of a collective that hangs
};

size_t type_size(int type) {
  switch (type) {
    case ncclFloat32:
    case ncclInt32: return 4;
    case ncclFloat16:
    case ncclBfloat16: return 2;
    default: return 1;
  }
}

template <class T>
T reduced(T a, T b, int op) {
  return op == ncclSum ? a + b : op == ncclMax ? std::max(a, b) : std::min(a, b);
}

void reduce(char* sum, const char* other, size_t count, int type, int op) {
  if (type == ncclInt32) {
    auto* a = reinterpret_cast<int32_t*>(sum);
    for (size_t i = 0; i < count; ++i) a[i] = reduced(a[i], reinterpret_cast<const int32_t*>(other)[i], op);
    return;
  }
  const Element element = type == ncclFloat16 ? Element::F16 : type == ncclBfloat16 ? Element::BF16 : Element::F32;
  for (size_t i = 0; i < count; ++i)
    star::simt::store_element(
        sum, element, i, reduced(star::simt::load_element(sum, element, i), star::simt::load_element(other, element, i), op));
}

// Faults and the record of calls, for tests.
struct Probe {
  std::mutex mutex;
  std::vector<std::string> calls;
  std::map<std::string, ncclResult_t> failing;
  ncclResult_t state = ncclSuccess;
  bool hang = false;
};
Probe& probe() {
  static Probe probe;
  return probe;
}

// Records the call; the result that a test has planted for it, or success.
ncclResult_t called(const char* function, const std::string& details = "") {
  Probe& p = probe();
  const std::lock_guard<std::mutex> lock(p.mutex);
  p.calls.push_back(details.empty() ? function : std::string(function) + " " + details);
  const auto found = p.failing.find(function);
  if (found == p.failing.end()) return ncclSuccess;
  const ncclResult_t result = found->second;
  p.failing.erase(found);
  return result;
}

}  // namespace

struct ncclComm {
  int rank = 0, ranks = 0;
  std::string name;
  Board* board = nullptr;
  std::deque<Operation> waiting;
  std::shared_ptr<std::atomic<bool>> held;
  ncclResult_t state = ncclSuccess;
  std::string last_error;

  // Of the operation at the front: the elements that have travelled, and how far the piece on the way is.
  uint64_t done = 0;
  enum { kNothing, kGiven, kTaken } step = kNothing;
  int round = 0;

  ncclResult_t advance();

 private:
  uint64_t per_piece(const Operation& operation) const;
  bool give(const Operation& operation);
  bool take(const Operation& operation);
  void arrive();
  bool all_arrived() const { return board->round.load() != round; }
  ncclResult_t fail(ncclResult_t result, const std::string& why) {
    last_error = why;
    return state = result;
  }
};

void ncclComm::arrive() {
  round = board->round.load();
  if (board->arrived.fetch_add(1) + 1 < ranks) return;
  board->arrived = 0;
  board->round = round + 1;
}

uint64_t ncclComm::per_piece(const Operation& operation) const {
  const Shape& shape = operation.shape;
  const uint64_t fit =
      kSlotBytes / type_size(shape.type) / (shape.kind == Kind::ReduceScatter ? static_cast<uint64_t>(ranks) : 1);
  return std::min<uint64_t>(fit, shape.count - done);
}

// This rank's part of the next piece into its slot.
bool ncclComm::give(const Operation& operation) {
  const Shape& shape = operation.shape;
  const size_t width = type_size(shape.type), bytes = per_piece(operation) * width;
  board->shapes[rank] = shape;
  if (bytes == 0 || (shape.kind == Kind::Broadcast && rank != shape.root)) return true;
  char* const slot = board->slots[rank];
  const int parts = shape.kind == Kind::ReduceScatter ? ranks : 1;
  for (int part = 0; part < parts; ++part)
    if (cudaMemcpy(slot + static_cast<size_t>(part) * bytes,
                   operation.in + (static_cast<uint64_t>(part) * shape.count + done) * width, bytes,
                   cudaMemcpyDeviceToHost) != cudaSuccess)
      return false;
  return true;
}

// What this rank gets of the piece, out of all slots.
bool ncclComm::take(const Operation& operation) {
  const Shape& shape = operation.shape;
  const uint64_t count = per_piece(operation);
  const size_t width = type_size(shape.type), bytes = count * width;
  if (bytes == 0) return true;
  const auto put = [&](const char* from, uint64_t element) {
    return cudaMemcpy(operation.out + element * width, from, bytes, cudaMemcpyHostToDevice) == cudaSuccess;
  };
  if (shape.kind == Kind::Broadcast) return put(board->slots[shape.root], done);
  if (shape.kind == Kind::AllGather) {
    for (int r = 0; r < ranks; ++r)
      if (!put(board->slots[r], static_cast<uint64_t>(r) * shape.count + done)) return false;
    return true;
  }
  const size_t offset = shape.kind == Kind::ReduceScatter ? static_cast<size_t>(rank) * bytes : 0;
  std::vector<char> sum(board->slots[0] + offset, board->slots[0] + offset + bytes);
  for (int r = 1; r < ranks; ++r) reduce(sum.data(), board->slots[r] + offset, count, shape.type, shape.op);
  return put(sum.data(), done);
}

// Does what can be done without waiting.
ncclResult_t ncclComm::advance() {
  if (state != ncclSuccess && state != ncclInProgress) return state;
  while (!waiting.empty()) {
    const Operation& operation = waiting.front();
    if (operation.held) {
      waiting.pop_front();
      continue;
    }
    if (step == kNothing) {
      if (!give(operation)) return fail(ncclUnhandledCudaError, "a buffer is not device memory");
      arrive();
      step = kGiven;
    }
    if (step == kGiven) {
      if (!all_arrived()) return state = ncclInProgress;
      for (int r = 0; r < ranks; ++r)
        if (board->shapes[r] != operation.shape)
          return fail(ncclInvalidUsage,
                      "rank " + std::to_string(r) + " calls another collective than rank " + std::to_string(rank));
      if (!take(operation)) return fail(ncclUnhandledCudaError, "a buffer is not device memory");
      arrive();
      step = kTaken;
    }
    if (!all_arrived()) return state = ncclInProgress;
    step = kNothing;
    done += per_piece(operation);
    if (done < operation.shape.count) continue;
    done = 0;
    waiting.pop_front();
  }
  return state = ncclSuccess;
}

namespace {

thread_local int group_depth = 0;
thread_local std::vector<ncclComm_t> group_comms;

ncclResult_t give(const char* function, ncclComm_t comm, Operation operation, cudaStream_t stream) {
  const Shape& shape = operation.shape;
  if (const ncclResult_t planted = called(function, std::to_string(shape.count) + " of type " + std::to_string(shape.type));
      planted != ncclSuccess)
    return planted;
  // Work on a stream of its own would be recorded in no graph.
  if (comm == nullptr || stream == nullptr || stream->capturing) return ncclInvalidArgument;
  Probe& p = probe();
  {
    const std::lock_guard<std::mutex> lock(p.mutex);
    if (p.hang) {
      p.hang = false;
      if (!comm->held) comm->held = std::make_shared<std::atomic<bool>>(true);
      operation.held = stream->held = comm->held;
    }
  }
  comm->waiting.push_back(std::move(operation));
  if (group_depth == 0) return comm->advance();
  group_comms.push_back(comm);
  return ncclSuccess;
}

void end(ncclComm_t comm) {
  if (comm->held) *comm->held = false;
  if (comm->board) munmap(comm->board, sizeof(Board));
  delete comm;
}

}  // namespace

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess: return "no error";
    case ncclUnhandledCudaError: return "unhandled cuda error";
    case ncclSystemError: return "unhandled system error";
    case ncclInternalError: return "internal error";
    case ncclInvalidArgument: return "invalid argument";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "remote process exited or there was a network error";
    case ncclInProgress: return "NCCL operation in progress";
  }
  return "unknown result code";
}
const char* ncclGetLastError(ncclComm_t comm) { return comm->last_error.c_str(); }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static std::atomic<int> made{0};
  if (const ncclResult_t planted = called("ncclGetUniqueId"); planted != ncclSuccess) return planted;
  *id = {};
  std::snprintf(id->internal, sizeof id->internal, "/star-simt-nccl-%d-%d", getpid(), made++);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* out, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  *out = nullptr;
  if (const ncclResult_t planted = called("ncclCommInitRankConfig", std::to_string(rank) + " of " + std::to_string(ranks));
      planted != ncclSuccess)
    return planted;
  if (config->blocking != 0 || rank < 0 || rank >= ranks || ranks > kMaxRanks) return ncclInvalidArgument;
  const int file = shm_open(id.internal, O_RDWR | O_CREAT, 0600);
  if (file < 0) return ncclSystemError;
  void* memory = MAP_FAILED;
  if (ftruncate(file, sizeof(Board)) == 0) memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return ncclSystemError;
  auto* comm = new ncclComm;
  comm->rank = rank;
  comm->ranks = ranks;
  comm->board = static_cast<Board*>(memory);
  comm->name = id.internal;
  comm->waiting.push_back({});  // everybody comes
  *out = comm;
  return comm->advance();
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  if (comm == nullptr) return ncclInvalidArgument;
  {
    const std::lock_guard<std::mutex> lock(probe().mutex);
    if (probe().state != ncclSuccess) {
      *state = probe().state;
      return ncclSuccess;
    }
  }
  *state = comm->advance();
  // All have it open: the name is not needed any more.
  if (*state == ncclSuccess && comm->rank == 0 && !comm->name.empty()) {
    shm_unlink(comm->name.c_str());
    comm->name.clear();
  }
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  if (const ncclResult_t planted = called("ncclCommFinalize"); planted != ncclSuccess) return planted;
  comm->waiting.push_back({});  // nobody goes before all are done
  return comm->advance();
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  if (const ncclResult_t planted = called("ncclCommDestroy"); planted != ncclSuccess) return planted;
  end(comm);
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  const ncclResult_t planted = called("ncclCommAbort");
  if (!comm->name.empty()) shm_unlink(comm->name.c_str());
  end(comm);
  return planted;
}

ncclResult_t ncclGroupStart() {
  if (const ncclResult_t planted = called("ncclGroupStart"); planted != ncclSuccess) return planted;
  ++group_depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  const ncclResult_t planted = called("ncclGroupEnd");
  if (group_depth == 0) return ncclInvalidUsage;
  if (--group_depth > 0) return planted;
  std::vector<ncclComm_t> comms;
  comms.swap(group_comms);
  if (planted != ncclSuccess) return planted;
  ncclResult_t result = ncclSuccess;
  for (ncclComm_t comm : comms) result = comm->advance();
  return result;
}

ncclResult_t ncclAllReduce(const void* in, void* out, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream) {
  return give("ncclAllReduce", comm,
              {{Kind::AllReduce, type, op, 0, count}, static_cast<const char*>(in), static_cast<char*>(out), nullptr}, stream);
}
ncclResult_t ncclReduceScatter(const void* in, void* out, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                               cudaStream_t stream) {
  return give("ncclReduceScatter", comm,
              {{Kind::ReduceScatter, type, op, 0, count}, static_cast<const char*>(in), static_cast<char*>(out), nullptr},
              stream);
}
ncclResult_t ncclAllGather(const void* in, void* out, size_t count, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream) {
  return give("ncclAllGather", comm,
              {{Kind::AllGather, type, 0, 0, count}, static_cast<const char*>(in), static_cast<char*>(out), nullptr}, stream);
}
ncclResult_t ncclBroadcast(const void* in, void* out, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  return give("ncclBroadcast", comm,
              {{Kind::Broadcast, type, 0, root, count}, static_cast<const char*>(in), static_cast<char*>(out), nullptr}, stream);
}

namespace star::simt {

std::vector<std::string> nccl_calls() {
  const std::lock_guard<std::mutex> lock(probe().mutex);
  return std::exchange(probe().calls, {});
}
void nccl_fail(const std::string& function, ncclResult_t result) {
  const std::lock_guard<std::mutex> lock(probe().mutex);
  probe().failing[function] = result;
}
void nccl_break(ncclResult_t state) {
  const std::lock_guard<std::mutex> lock(probe().mutex);
  probe().state = state;
}
void nccl_hang() {
  const std::lock_guard<std::mutex> lock(probe().mutex);
  probe().hang = true;
}

}  // namespace star::simt
