// The CPU backend: oneDNN for matrix products and convolutions, Highway for the rest, threads of native/threads.
// Each family of ops is implemented in the file of its name beside this one.
#pragma once

#include <memory>

#include "core/backend.h"

namespace star {

class CpuBackend final : public Backend {
 public:
  CpuBackend();  // throws ERR_CONFIG when it is not a whole number from 1 to 1024

  const char* name() const override { return "cpu"; }
  bool available(std::string*) const override { return true; }
  std::string description() const override;
  void synchronize() override {}

  void* allocate(size_t bytes) override { return allocator_.allocate(bytes); }
  void release(void* data, size_t bytes) noexcept override { allocator_.release(data, bytes); }
  MemoryStats memory() const override { return allocator_.stats(); }
  void reset_peak_memory() override { allocator_.reset_peak(); }
  void trim_memory() override { allocator_.trim(); }
  void copy_from_host(void* to, const void* from, size_t bytes) override;
  void copy_to_host(void* to, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;

  bool can_capture() const override { return false; }
  void begin_capture() override;
  int64_t end_capture(bool keep) override;
  void launch_graph(int64_t graph) override;
  void destroy_graph(int64_t) noexcept override {}

  void select(int) override {}
  const char* collectives_engine() const override { return nullptr; }
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

 private:
  CachingAllocator allocator_;
};

}  // namespace star
