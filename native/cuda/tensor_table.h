// Lists of tensors in as few launches as their tables (device/tensor_table.cuh) allow.
#pragma once

#include <algorithm>
#include <vector>

#include "core/dtype.h"
#include "cuda/device/tensor_table.cuh"
#include "cuda/dispatch.h"
#include "cuda/elementwise.h"
#include "cuda/launch.h"

namespace star {

// A tensor that is read only.
struct TensorEntry {
  const void* data;
  int64_t count;
  DType dtype;
  bool vectors;  // may be read 16 bytes at a time

  TensorEntry() = default;
  TensorEntry(const CRef& ref, int64_t count, const char* op)
      : data(ref.data), count(count), dtype(checked(ref.dtype, op)), vectors(aligned(static_cast<const char*>(ref.data))) {}

  // The tensors of one launch may have different types, which only the device tells apart.
  static DType checked(DType dtype, const char* op) {
    dispatch_float(dtype, op, [](auto) {});
    return dtype;
  }
};

// Calls f with a null pointer of the type of the elements.
template <class F>
__device__ __forceinline__ void with_type(DType dtype, F f) {
  if (dtype == DType::F16)
    f(static_cast<const f16*>(nullptr));
  else if (dtype == DType::BF16)
    f(static_cast<const bf16*>(nullptr));
  else
    f(static_cast<const float*>(nullptr));
}

// Pieces of at most `piece` elements.
inline int64_t pieces_of(int64_t count, int64_t piece) { return (count + piece - 1) / piece; }

// Calls f(table, blocks) for the entries in order, table by table; empty tensors are left out.
template <class Table, class Entry, class F>
void for_tables(const std::vector<Entry>& entries, int64_t piece, F&& f) {
  Table table{};
  int64_t blocks = 0;
  const auto finish = [&] {
    if (table.size > 0) f(table, blocks_for(blocks, 1));
    table.size = 0;
    blocks = 0;
  };
  for (const Entry& entry : entries) {
    const int64_t pieces = pieces_of(entry.count, piece);
    if (pieces == 0) continue;
    if (table.size == Table::kTensors || blocks + pieces > INT32_MAX) finish();
    table.entries[table.size++] = entry;
    blocks += pieces;
    table.first_block[table.size] = static_cast<int>(std::min<int64_t>(blocks, INT32_MAX));
  }
  finish();
}

}  // namespace star
