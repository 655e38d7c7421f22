#include "cuda/nccl.h"

#include <chrono>
#include <cstring>
#include <thread>

#include "core/error.h"
#include "cuda/launch.h"

namespace star {

namespace {

// Between two looks at a communicator that is at work.
constexpr auto kPoll = std::chrono::microseconds(100);
// How long the others may take to end their part.
constexpr auto kFinalizeWait = std::chrono::seconds(5);

ncclDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::F32: return ncclFloat32;
    case DType::F16: return ncclFloat16;
    case DType::BF16: return ncclBfloat16;
    case DType::I32: return ncclInt32;
    case DType::U8: return ncclUint8;
    case DType::I8: return ncclInt8;
  }
  fail(ErrorCode::Internal, "a type without a name");
}

ncclDataType_t summed_type_of(DType dtype) {
  if (dtype == DType::U8 || dtype == DType::I8)
    fail(ErrorCode::DType, "%s is not reduced, expected f32, f16, bf16 or i32", dtype_name(dtype));
  return type_of(dtype);
}

ncclRedOp_t operation_of(Reduction op) {
  switch (op) {
    case Reduction::Sum: return ncclSum;
    case Reduction::Max: return ncclMax;
    case Reduction::Min: return ncclMin;
  }
  fail(ErrorCode::Internal, "a reduction without a name");
}

class EventMark final : public StreamMark {
 public:
  EventMark(CudaBackend& backend, cudaStream_t stream) : backend_(backend) {
    check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "collective");
    check_cuda(cudaEventRecord(event_, stream), "collective");
  }
  ~EventMark() override { cudaEventDestroy(event_); }
  // A device that has failed reaches nothing any more: whoever waits for it is told by the backend.
  bool reached() const override { return cudaEventQuery(event_) != cudaErrorNotReady; }
  void wait() override { check_cuda(cudaStreamWaitEvent(backend_.stream(), event_), "collective"); }

 private:
  CudaBackend& backend_;
  cudaEvent_t event_ = nullptr;
};

}  // namespace

std::string NcclApi::describe(ncclResult_t result, ncclComm_t comm, const char* what) const {
  std::string text = std::string("NCCL: ") + what + ": " + ncclGetErrorString(result);
  const char* const detail = comm == nullptr ? nullptr : ncclGetLastError(comm);
  if (detail != nullptr && *detail != '\0') text += std::string(" (") + detail + ")";
  // One line, whatever the library writes.
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  for (char& c : text)
    if (c == '\n') c = ' ';
  return text;
}

std::string CudaBackend::collectives_id() {
  stream();  // opens the device: NCCL asks for one
  const NcclApi api;
  ncclUniqueId id;
  const ncclResult_t result = api.ncclGetUniqueId(&id);
  if (result != ncclSuccess) throw Error(ErrorCode::Comm, api.describe(result, nullptr, "id of a group"));
  return {id.internal, sizeof id.internal};
}

std::unique_ptr<Collectives> CudaBackend::connect(const std::string& id, int rank, int size, std::function<void()> waiting) {
  lose("");
  return std::make_unique<NcclCollectives>(*this, id, rank, size, std::move(waiting));
}

NcclCollectives::NcclCollectives(CudaBackend& backend, const std::string& id, int rank, int size, std::function<void()> waiting)
    : backend_(backend), waiting_(std::move(waiting)) {
  ncclUniqueId name;
  if (id.size() != sizeof name.internal)
    fail(ErrorCode::Comm, "the id of a group has %zu bytes, expected %zu", id.size(), sizeof name.internal);
  std::memcpy(name.internal, id.data(), id.size());
  backend.stream();
  attach();  // this need not be the thread that opened the device
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "NCCL");
  check_cuda(cudaEventCreateWithFlags(&ready_, cudaEventDisableTiming), "NCCL");
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  const ncclResult_t result = api_.ncclCommInitRankConfig(&comm_, size, name, rank, &config);
  try {
    if (result != ncclSuccess && result != ncclInProgress)
      throw Error(ErrorCode::Comm, api_.describe(result, comm_, "connecting the GPUs"));
    settle("connecting the GPUs");
  } catch (const Error& error) {
    abort(error.what());
    throw;
  }
}

NcclCollectives::~NcclCollectives() {
  if (!finalize()) api_.ncclCommAbort(comm_);
  cudaEventDestroy(ready_);
  cudaStreamDestroy(stream_);
}

// The stream waits for what the backend was given so far.
void NcclCollectives::follow() {
  check_cuda(cudaEventRecord(ready_, backend_.stream()), "collective");
  check_cuda(cudaStreamWaitEvent(stream_, ready_), "collective");
}

template <class Call>
void NcclCollectives::checked(const char* what, Call call) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (comm_ == nullptr) throw Error(ErrorCode::Comm, lost_);
  const ncclResult_t result = call();
  if (result != ncclSuccess && result != ncclInProgress) throw Error(ErrorCode::Comm, api_.describe(result, comm_, what));
}

// Until the library has done on the host what it has to, such as connecting ranks that talk for the first time.
void NcclCollectives::settle(const char* what) {
  for (;;) {
    ncclResult_t state = ncclSuccess;
    checked(what, [&] { return api_.ncclCommGetAsyncError(comm_, &state); });
    if (state == ncclSuccess) return;
    checked(what, [&] { return state; });
    waiting_();
    std::this_thread::sleep_for(kPoll);
  }
}

template <class Call>
void NcclCollectives::give(const char* what, Call call) {
  if (!batch_) follow();
  checked(what, call);
  if (!batch_) settle(what);
}

void NcclCollectives::all_reduce(const Ref& data, int64_t count, Reduction op) {
  const ncclDataType_t type = summed_type_of(data.dtype);
  give("allReduce", [&] {
    return api_.ncclAllReduce(data.data, data.data, static_cast<size_t>(count), type, operation_of(op), comm_, stream_);
  });
}

void NcclCollectives::reduce_scatter(const Ref& out, const CRef& in, int64_t count) {
  const ncclDataType_t type = summed_type_of(in.dtype);
  give("reduceScatter",
       [&] { return api_.ncclReduceScatter(in.data, out.data, static_cast<size_t>(count), type, ncclSum, comm_, stream_); });
}

void NcclCollectives::all_gather(const Ref& out, const CRef& in, int64_t count) {
  const ncclDataType_t type = type_of(in.dtype);
  give("allGather", [&] { return api_.ncclAllGather(in.data, out.data, static_cast<size_t>(count), type, comm_, stream_); });
}

void NcclCollectives::broadcast(const Ref& data, int64_t count, int root) {
  const ncclDataType_t type = type_of(data.dtype);
  give("broadcast",
       [&] { return api_.ncclBroadcast(data.data, data.data, static_cast<size_t>(count), type, root, comm_, stream_); });
}

void NcclCollectives::begin_batch() {
  follow();
  checked("batch", [&] { return api_.ncclGroupStart(); });
  batch_ = true;
}

void NcclCollectives::end_batch() {
  batch_ = false;
  checked("batch", [&] { return api_.ncclGroupEnd(); });
  settle("batch");
}

std::unique_ptr<StreamMark> NcclCollectives::mark() { return std::make_unique<EventMark>(backend_, stream_); }

void NcclCollectives::attach() { check_cuda(cudaSetDevice(backend_.device()), "NCCL"); }

std::string NcclCollectives::error() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (comm_ == nullptr) return lost_;
  ncclResult_t state = ncclSuccess;
  ncclResult_t result = api_.ncclCommGetAsyncError(comm_, &state);
  if (result == ncclSuccess) result = state;
  return result == ncclSuccess || result == ncclInProgress ? "" : api_.describe(result, comm_, "collective");
}

void NcclCollectives::abort(const std::string& why) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!lost_.empty()) return;
  lost_ = why;
  // Before the device's work breaks off: who waits for it must not take what is there for a result.
  backend_.lose(why);
  // What it returns changes nothing: the communicator is gone either way.
  if (comm_ != nullptr) api_.ncclCommAbort(comm_);
  comm_ = nullptr;
}

// Ends in order: what was given is done, and the others have all they need. False when that does not come about in time.
bool NcclCollectives::finalize() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (comm_ == nullptr) return true;
  const auto until = std::chrono::steady_clock::now() + kFinalizeWait;
  ncclResult_t state = api_.ncclCommFinalize(comm_);
  while (state == ncclInProgress || state == ncclSuccess) {
    if (api_.ncclCommGetAsyncError(comm_, &state) != ncclSuccess) return false;
    if (state == ncclSuccess) {
      api_.ncclCommDestroy(comm_);
      comm_ = nullptr;
      return true;
    }
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return false;
}

}  // namespace star
