// The backend of star_simt.so: that of CUDA, with a record of what each op costs and what it gives to the device.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "cuda/cuda_backend.h"
#include "simt/audit.h"
#include "simt/cost.h"

namespace star::simt {

class RecordingBackend final : public CudaBackend {
 public:
  using CudaBackend::CudaBackend;

  // {"ops": [{op, shape, dtype, calls, operations, bytes, launches, libraryCalls}, …], "hostWaits", "graphLaunches"}, where an op
  // that others are made of is counted with them, and ops are in the order of their names and shapes. Work of a graph is counted
  // when it is recorded.
  std::string take_record();

  // Where STAR_SIMT_RECORD names a file, the record since the last call is added to it as one line.
  void synchronize() override;

#define STAR_RECORDED(name, Args)                                 \
  void name(const Args& args) override {                          \
    note(#name, cost_of(args), [&] { CudaBackend::name(args); }); \
  }
  STAR_RECORDED(matmul, MatmulArgs)
  STAR_RECORDED(linear_backward_input, LinearBackwardInputArgs)
  STAR_RECORDED(linear_backward_weight, LinearBackwardWeightArgs)
  STAR_RECORDED(quantize_rows, QuantizeRowsArgs)
  STAR_RECORDED(dequantize_rows, DequantizeRowsArgs)
  STAR_RECORDED(linear_int8, LinearInt8Args)
  STAR_RECORDED(conv2d, Conv2dArgs)
  STAR_RECORDED(conv2d_backward_data, Conv2dBackwardDataArgs)
  STAR_RECORDED(conv2d_backward_weight, Conv2dBackwardWeightArgs)
  STAR_RECORDED(resample, ResampleArgs)
  STAR_RECORDED(resample_backward, ResampleBackwardArgs)
  STAR_RECORDED(binary, BinaryArgs)
  STAR_RECORDED(affine, AffineArgs)
  STAR_RECORDED(unary, UnaryArgs)
  STAR_RECORDED(unary_backward, UnaryBackwardArgs)
  STAR_RECORDED(fill, FillArgs)
  STAR_RECORDED(cast, CastArgs)
  STAR_RECORDED(reduce, ReduceArgs)
  STAR_RECORDED(permute, PermuteArgs)
  STAR_RECORDED(copy_block, CopyBlockArgs)
  STAR_RECORDED(random, RandomArgs)
  STAR_RECORDED(layer_norm, LayerNormArgs)
  STAR_RECORDED(layer_norm_backward, LayerNormBackwardArgs)
  STAR_RECORDED(group_norm, GroupNormArgs)
  STAR_RECORDED(group_norm_backward, GroupNormBackwardArgs)
  STAR_RECORDED(softmax, SoftmaxArgs)
  STAR_RECORDED(softmax_backward, SoftmaxBackwardArgs)
  STAR_RECORDED(heads, HeadsArgs)
  STAR_RECORDED(heads_backward, HeadsBackwardArgs)
  STAR_RECORDED(attention, AttentionArgs)
  STAR_RECORDED(attention_backward, AttentionBackwardArgs)
  STAR_RECORDED(embedding, EmbeddingArgs)
  STAR_RECORDED(embedding_backward, EmbeddingBackwardArgs)
  STAR_RECORDED(nearest_row, NearestRowArgs)
  STAR_RECORDED(draw, DrawArgs)
  STAR_RECORDED(gumbel_mix, GumbelMixArgs)
  STAR_RECORDED(unmask, UnmaskArgs)
  STAR_RECORDED(row_distances, RowDistancesArgs)
  STAR_RECORDED(top_positions, TopPositionsArgs)
  STAR_RECORDED(gather_rows, GatherRowsArgs)
  STAR_RECORDED(scatter_rows, ScatterRowsArgs)
  STAR_RECORDED(cross_entropy, CrossEntropyArgs)
  STAR_RECORDED(cross_entropy_backward, CrossEntropyBackwardArgs)
  STAR_RECORDED(global_norm, GlobalNormArgs)
  STAR_RECORDED(finite, FiniteArgs)
  STAR_RECORDED(adamw, AdamWArgs)
#undef STAR_RECORDED

 private:
  struct Entry {
    Cost cost;
    std::string op;
    uint64_t calls = 0, launches = 0, library_calls = 0;
  };

  template <class Body>
  void note(const char* op, const Cost& cost, Body&& body) {
    if (inside_) return body();
    inside_ = true;
    const uint64_t launches = counts().launches, library_calls = counts().library_calls;
    try {
      body();
    } catch (...) {
      inside_ = false;
      throw;
    }
    inside_ = false;
    add(op, cost, counts().launches - launches, counts().library_calls - library_calls);
  }
  void add(const char* op, const Cost& cost, uint64_t launches, uint64_t library_calls);

  bool inside_ = false;  // of an op that is made of others
  std::map<std::string, Entry> entries_;
  uint64_t host_waits_ = 0, graph_launches_ = 0;  // at the last record
};

}  // namespace star::simt
