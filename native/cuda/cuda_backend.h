// The CUDA backend: kernels of our own (kernels/), cuBLASLt for matrix products (gemm.cu, matmul.cu), cuDNN for convolutions
// (conv.cu). All work is given to one stream and nothing waits for it but copies to the host and `synchronize`. The simt build
// compiles the same sources for the CPU (native/simt).
#pragma once

#include <cuda_runtime.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/backend.h"

namespace star {

class CudaGemm;     // gemm.h: handle, workspace, algorithm cache
struct CudaConv;    // conv.cu: handle, algorithm cache
class CudaStaging;  // staging.h

class CudaBackend : public Backend {
 public:
  // `name` is "cuda" or "simt". Touches no driver: the device is opened by the first call that needs it.
  explicit CudaBackend(const char* name);
  ~CudaBackend() override;

  const char* name() const override { return name_; }
  bool available(std::string* reason) const override;
  std::string description() const override;
  void synchronize() override;

  void* allocate(size_t bytes) override;
  void release(void* data, size_t bytes) noexcept override;
  MemoryStats memory() const override;
  void reset_peak_memory() override;
  void trim_memory() override;
  void copy_from_host(void* to, const void* from, size_t bytes) override;
  void copy_to_host(void* to, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;

  bool can_capture() const override { return true; }
  void begin_capture() override;
  int64_t end_capture(bool keep) override;
  void launch_graph(int64_t graph) override;
  void destroy_graph(int64_t graph) noexcept override;

  void select(int index) override;
  const char* collectives_engine() const override { return "nccl"; }
  std::string collectives_id() override;
  std::unique_ptr<Collectives> connect(const std::string& id, int rank, int size, std::function<void()> waiting) override;

  void matmul(const MatmulArgs&) override;
  void linear_backward_input(const LinearBackwardInputArgs&) override;
  void linear_backward_weight(const LinearBackwardWeightArgs&) override;
  void quantize_rows(const QuantizeRowsArgs&) override;
  void dequantize_rows(const DequantizeRowsArgs&) override;
  void linear_int8(const LinearInt8Args&) override;
  void conv2d(const Conv2dArgs&) override;
  void conv2d_backward_data(const Conv2dBackwardDataArgs&) override;
  void conv2d_backward_weight(const Conv2dBackwardWeightArgs&) override;
  void resample(const ResampleArgs&) override;
  void resample_backward(const ResampleBackwardArgs&) override;
  void binary(const BinaryArgs&) override;
  void affine(const AffineArgs&) override;
  void unary(const UnaryArgs&) override;
  void unary_backward(const UnaryBackwardArgs&) override;
  void fill(const FillArgs&) override;
  void cast(const CastArgs&) override;
  void reduce(const ReduceArgs&) override;
  void permute(const PermuteArgs&) override;
  void copy_block(const CopyBlockArgs&) override;
  void random(const RandomArgs&) override;
  void layer_norm(const LayerNormArgs&) override;
  void layer_norm_backward(const LayerNormBackwardArgs&) override;
  void group_norm(const GroupNormArgs&) override;
  void group_norm_backward(const GroupNormBackwardArgs&) override;
  void softmax(const SoftmaxArgs&) override;
  void softmax_backward(const SoftmaxBackwardArgs&) override;
  void heads(const HeadsArgs&) override;
  void heads_backward(const HeadsBackwardArgs&) override;
  void attention(const AttentionArgs&) override;
  void attention_backward(const AttentionBackwardArgs&) override;
  void embedding(const EmbeddingArgs&) override;
  void embedding_backward(const EmbeddingBackwardArgs&) override;
  void nearest_row(const NearestRowArgs&) override;
  void draw(const DrawArgs&) override;
  void gumbel_mix(const GumbelMixArgs&) override;
  void unmask(const UnmaskArgs&) override;
  void row_distances(const RowDistancesArgs&) override;
  void top_positions(const TopPositionsArgs&) override;
  void gather_rows(const GatherRowsArgs&) override;
  void scatter_rows(const ScatterRowsArgs&) override;
  void cross_entropy(const CrossEntropyArgs&) override;
  void cross_entropy_backward(const CrossEntropyBackwardArgs&) override;
  void global_norm(const GlobalNormArgs&) override;
  void finite(const FiniteArgs&) override;
  void adamw(const AdamWArgs&) override;

  cudaStream_t stream();  // opens the device when it is not open yet; throws ERR_DEVICE
  const cudaDeviceProp& properties();

  // One int of device memory that kernels set to a DeviceFault; the next copy to the host or `synchronize` throws what it says.
  int* fault();

  int device() const { return device_; }
  // From now on whoever waits for the device is told that what it computes is worthless (ERR_COMM). For any thread.
  void lose(const std::string& why);

 private:
  void open();
  void attach() const;
  void check_fault();
  // Throws ERR_DEVICE for what cannot be a part of a graph.
  void refuse_in_recording(const char* what) const;
  bool give_back_idle_memory() noexcept;

  const char* const name_;
  int device_ = 0;
  // Guards all that follows but `lost_`. Held from the begin of a recording to its end: work of other threads is no part of it.
  mutable std::recursive_mutex mutex_;
  mutable bool usable_ = false;  // found out once: a GPU, its driver and the libraries are there
  bool open_ = false, recording_ = false;
  std::mutex lost_mutex_;
  std::string lost_;  // guarded by lost_mutex_
  cudaStream_t stream_ = nullptr;
  cudaDeviceProp properties_{};
  int* fault_ = nullptr;  // device memory
  MemoryStats stats_;
  std::unique_ptr<CudaStaging> staging_;  // after the stream and the pool: a start that fails takes them back
  std::map<int64_t, cudaGraphExec_t> graphs_;
  int64_t last_graph_ = 0;
  std::shared_ptr<CudaGemm> gemm_;
  std::shared_ptr<CudaConv> conv_;
};

// What a kernel found wrong with the values it was given.
// Kernels report with atomicMax, so that the same one wins every time.
enum DeviceFault : int {
  kNoFault = 0,
  kEmbeddingIndex = 1,
  kTargetIndex = 2,
  kDrawLogits = 3,
  kDrawUniform = 4,
  kRowPosition = 5
};

// Memory for the length of a block of code, on the backend's stream: given back to the pool when the work before it is done.
class Scratch {
 public:
  Scratch(CudaBackend& backend, size_t bytes) : backend_(backend), data_(backend.allocate(bytes)), bytes_(bytes) {}
  ~Scratch() { backend_.release(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  CudaBackend& backend_;
  void* data_;
  size_t bytes_;
};

}  // namespace star
