// Collectives by NCCL, on a stream beside the backend's. Reference: NCCL documentation, "Communicators" and "Fault tolerance":
// the communicator is non-blocking, so that a rank that is lost can be given up.
#pragma once

#include <nccl.h>

#include <mutex>

#include "core/collectives.h"
#include "cuda/cuda_backend.h"
#include "cuda/library.h"

namespace star {

struct NcclApi {
#define STAR_FUNCTION(name) decltype(::name)* name = Library::nccl().function<decltype(::name)>(#name)
  STAR_FUNCTION(ncclGetErrorString);
  STAR_FUNCTION(ncclGetLastError);
  STAR_FUNCTION(ncclGetUniqueId);
  STAR_FUNCTION(ncclCommInitRankConfig);
  STAR_FUNCTION(ncclCommGetAsyncError);
  STAR_FUNCTION(ncclCommFinalize);
  STAR_FUNCTION(ncclCommDestroy);
  STAR_FUNCTION(ncclCommAbort);
  STAR_FUNCTION(ncclGroupStart);
  STAR_FUNCTION(ncclGroupEnd);
  STAR_FUNCTION(ncclAllReduce);
  STAR_FUNCTION(ncclReduceScatter);
  STAR_FUNCTION(ncclAllGather);
  STAR_FUNCTION(ncclBroadcast);
#undef STAR_FUNCTION

  // "NCCL: what: unhandled system error (…)"
  std::string describe(ncclResult_t result, ncclComm_t comm, const char* what) const;
};

class NcclCollectives final : public Collectives {
 public:
  NcclCollectives(CudaBackend& backend, const std::string& id, int rank, int size, std::function<void()> waiting);
  ~NcclCollectives() override;

  void all_reduce(const Ref& data, int64_t count, Reduction op) override;
  void reduce_scatter(const Ref& out, const CRef& in, int64_t count) override;
  void all_gather(const Ref& out, const CRef& in, int64_t count) override;
  void broadcast(const Ref& data, int64_t count, int root) override;
  void begin_batch() override;
  void end_batch() override;
  std::unique_ptr<StreamMark> mark() override;
  void attach() override;
  std::string error() override;
  void abort(const std::string& why) noexcept override;

 private:
  template <class Call>
  void give(const char* what, Call call);
  template <class Call>
  void checked(const char* what, Call call);
  void follow();
  void settle(const char* what);
  bool finalize();

  const NcclApi api_;
  CudaBackend& backend_;
  const std::function<void()> waiting_;
  std::mutex mutex_;           // guards comm_ and lost_: NCCL's functions are not for two threads at a time
  ncclComm_t comm_ = nullptr;  // null after `abort`
  std::string lost_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t ready_ = nullptr;  // the backend's work so far
  bool batch_ = false;
};

}  // namespace star
