// What a device must be able to do: memory, and one function an op. Ops know no backend; a backend knows no tape and no
// JavaScript. Every function takes dense row-major memory whose shapes were checked by the caller, and throws star::Error.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "core/allocator.h"
#include "core/collectives.h"
#include "core/ops/attention.h"
#include "core/ops/conv.h"
#include "core/ops/elementwise.h"
#include "core/ops/int8.h"
#include "core/ops/layout.h"
#include "core/ops/loss.h"
#include "core/ops/matmul.h"
#include "core/ops/norm.h"
#include "core/ops/optim.h"
#include "core/ops/quantize.h"
#include "core/ops/random.h"
#include "core/ops/reduce.h"
#include "core/ops/resample.h"
#include "core/ops/rows.h"
#include "core/ops/sampling.h"

namespace star {

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const char* name() const = 0;                   // "cpu", "cuda", "simt"
  virtual bool available(std::string* reason) const = 0;  // false with the reason and the remedy
  virtual std::string description() const = 0;            // one line for `star info`
  virtual void synchronize() = 0;                         // waits for all work given so far

  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* data, size_t bytes) noexcept = 0;
  virtual MemoryStats memory() const = 0;
  virtual void reset_peak_memory() = 0;
  virtual void trim_memory() = 0;
  virtual void copy_from_host(void* to, const void* from, size_t bytes) = 0;
  virtual void copy_to_host(void* to, const void* from, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;

  // Graphs: the work given between `begin_capture` and `end_capture` is recorded and not done; `launch_graph` does it, as often
  // as wanted, with the same addresses and scalars. Memory that is allocated in between is released in between. `end_capture`
  // gives a number of its own to each graph; with `keep` false it forgets what was recorded and gives 0.
  virtual bool can_capture() const = 0;
  virtual void begin_capture() = 0;
  virtual int64_t end_capture(bool keep) = 0;
  virtual void launch_graph(int64_t graph) = 0;
  virtual void destroy_graph(int64_t graph) noexcept = 0;

  // Several processes. The process `index` of a machine takes that one of its devices; called before anything else, on the thread
  // that gives the work.
  virtual void select(int index) = 0;
  virtual const char* collectives_engine() const = 0;  // "nccl"; null where there are none: processes exchange through the host
  virtual std::string collectives_id() = 0;            // of a new group; one rank makes it for all
  // Returns when all ranks have come. `waiting` is called while the library waits for other ranks, here and in every function of
  // the collectives, and breaks off by throwing.
  virtual std::unique_ptr<Collectives> connect(const std::string& id, int rank, int size, std::function<void()> waiting) = 0;

  virtual void matmul(const MatmulArgs&) = 0;
  virtual void linear_backward_input(const LinearBackwardInputArgs&) = 0;
  virtual void linear_backward_weight(const LinearBackwardWeightArgs&) = 0;
  virtual void quantize_rows(const QuantizeRowsArgs&) = 0;
  virtual void dequantize_rows(const DequantizeRowsArgs&) = 0;
  virtual void linear_int8(const LinearInt8Args&) = 0;
  virtual void conv2d(const Conv2dArgs&) = 0;
  virtual void conv2d_backward_data(const Conv2dBackwardDataArgs&) = 0;
  virtual void conv2d_backward_weight(const Conv2dBackwardWeightArgs&) = 0;
  virtual void resample(const ResampleArgs&) = 0;
  virtual void resample_backward(const ResampleBackwardArgs&) = 0;

  virtual void binary(const BinaryArgs&) = 0;
  virtual void affine(const AffineArgs&) = 0;
  virtual void unary(const UnaryArgs&) = 0;
  virtual void unary_backward(const UnaryBackwardArgs&) = 0;
  virtual void fill(const FillArgs&) = 0;
  virtual void cast(const CastArgs&) = 0;
  virtual void reduce(const ReduceArgs&) = 0;
  virtual void permute(const PermuteArgs&) = 0;
  virtual void copy_block(const CopyBlockArgs&) = 0;
  virtual void random(const RandomArgs&) = 0;

  virtual void layer_norm(const LayerNormArgs&) = 0;
  virtual void layer_norm_backward(const LayerNormBackwardArgs&) = 0;
  virtual void group_norm(const GroupNormArgs&) = 0;
  virtual void group_norm_backward(const GroupNormBackwardArgs&) = 0;
  virtual void softmax(const SoftmaxArgs&) = 0;
  virtual void softmax_backward(const SoftmaxBackwardArgs&) = 0;

  virtual void heads(const HeadsArgs&) = 0;
  virtual void heads_backward(const HeadsBackwardArgs&) = 0;
  virtual void attention(const AttentionArgs&) = 0;
  virtual void attention_backward(const AttentionBackwardArgs&) = 0;

  virtual void embedding(const EmbeddingArgs&) = 0;
  virtual void embedding_backward(const EmbeddingBackwardArgs&) = 0;
  virtual void nearest_row(const NearestRowArgs&) = 0;
  virtual void draw(const DrawArgs&) = 0;
  virtual void gumbel_mix(const GumbelMixArgs&) = 0;
  virtual void unmask(const UnmaskArgs&) = 0;
  virtual void row_distances(const RowDistancesArgs&) = 0;
  virtual void top_positions(const TopPositionsArgs&) = 0;
  virtual void gather_rows(const GatherRowsArgs&) = 0;
  virtual void scatter_rows(const ScatterRowsArgs&) = 0;
  virtual void cross_entropy(const CrossEntropyArgs&) = 0;
  virtual void cross_entropy_backward(const CrossEntropyBackwardArgs&) = 0;

  virtual void global_norm(const GlobalNormArgs&) = 0;
  virtual void finite(const FiniteArgs&) = 0;
  virtual void adamw(const AdamWArgs&) = 0;
};

}  // namespace star
