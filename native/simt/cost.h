// What an op costs a device at least: operations of its matrix products, and bytes that it must read and write once. Bytes that
// fit a cache between two passes over them are counted once, and what is only looked up (ids, masks) is left out.
#pragma once

#include <string>

#include "core/backend.h"

namespace star::simt {

struct Cost {
  double operations = 0;  // of matrix products: two a multiplication and addition
  double bytes = 0;
  DType dtype = DType::F32;  // of the operands
  std::string shape;         // "m × n × k" and the like, for the reader of a record
};

Cost cost_of(const MatmulArgs&);
Cost cost_of(const LinearBackwardInputArgs&);
Cost cost_of(const LinearBackwardWeightArgs&);
Cost cost_of(const QuantizeRowsArgs&);
Cost cost_of(const DequantizeRowsArgs&);
Cost cost_of(const LinearInt8Args&);
Cost cost_of(const Conv2dArgs&);
Cost cost_of(const Conv2dBackwardDataArgs&);
Cost cost_of(const Conv2dBackwardWeightArgs&);
Cost cost_of(const ResampleArgs&);
Cost cost_of(const ResampleBackwardArgs&);
Cost cost_of(const BinaryArgs&);
Cost cost_of(const AffineArgs&);
Cost cost_of(const UnaryArgs&);
Cost cost_of(const UnaryBackwardArgs&);
Cost cost_of(const FillArgs&);
Cost cost_of(const CastArgs&);
Cost cost_of(const ReduceArgs&);
Cost cost_of(const PermuteArgs&);
Cost cost_of(const CopyBlockArgs&);
Cost cost_of(const RandomArgs&);
Cost cost_of(const LayerNormArgs&);
Cost cost_of(const LayerNormBackwardArgs&);
Cost cost_of(const GroupNormArgs&);
Cost cost_of(const GroupNormBackwardArgs&);
Cost cost_of(const SoftmaxArgs&);
Cost cost_of(const SoftmaxBackwardArgs&);
Cost cost_of(const HeadsArgs&);
Cost cost_of(const HeadsBackwardArgs&);
Cost cost_of(const AttentionArgs&);
Cost cost_of(const AttentionBackwardArgs&);
Cost cost_of(const EmbeddingArgs&);
Cost cost_of(const EmbeddingBackwardArgs&);
Cost cost_of(const NearestRowArgs&);
Cost cost_of(const DrawArgs&);
Cost cost_of(const GumbelMixArgs&);
Cost cost_of(const UnmaskArgs&);
Cost cost_of(const RowDistancesArgs&);
Cost cost_of(const TopPositionsArgs&);
Cost cost_of(const GatherRowsArgs&);
Cost cost_of(const ScatterRowsArgs&);
Cost cost_of(const CrossEntropyArgs&);
Cost cost_of(const CrossEntropyBackwardArgs&);
Cost cost_of(const GlobalNormArgs&);
Cost cost_of(const FiniteArgs&);
Cost cost_of(const AdamWArgs&);

}  // namespace star::simt
