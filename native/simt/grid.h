// One kernel launch: its shape, its code, and how it is to be run.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "simt/vector_types.h"

namespace star::simt {

// What a GPU leaves open, settled in one of two ways. A kernel whose result depends on any of it is wrong, so the checks run
// it both ways and compare.
struct Pass {
  bool descending = false;      // order of blocks, of warps in a block, and of lanes in a warp, between two barriers
  bool copies_at_once = false;  // cp.async writes when it is issued, or when it is waited for
  bool other_garbage = false;   // what memory holds that nobody wrote
  bool one_thread = false;      // all blocks in order on the calling OS thread
  bool ends_only = false;       // the first and the last block, for the audit
};

// Fills memory as if nobody had written it: with NaN (all bits set), or, as the other garbage, with words of either sign around
// 1.3e36 (60,000 as f16), so that minima, maxima and products with zero show them too. They go by the word's number in its
// allocation and by the allocation's `seed`: a sum that swallowed one of them does not look like memory that nobody wrote.
// `offset` is where `data` lies in the allocation. The two differ in every byte.
void fill_garbage(void* data, size_t bytes, bool other, uint64_t seed = 0, size_t offset = 0);

// A compiled kernel with its arguments.
struct Kernel {
  void (*invoke)(const void* call) = nullptr;  // runs one thread
  const void* call = nullptr;
  size_t call_bytes = 0;
  const void* address = nullptr;
  std::vector<const void*> pointers{};  // among its arguments
};

// Name of a kernel as in its source, with template arguments.
std::string kernel_name(const void* address);

class Grid {
 public:
  Grid(const Kernel& kernel, dim3 grid, dim3 block, size_t dynamic_bytes, size_t shared_limit, Pass pass)
      : kernel(kernel), grid(grid), block(block), dynamic_bytes(dynamic_bytes), shared_limit(shared_limit), pass(pass) {}

  // Runs all blocks, spread over threads. False when something was wrong: `failure` says what.
  bool run();
  std::string failure() const { return failure_; }

  // The failure of the first block counts; `text` says what happened, the rest is added here.
  void fail(uint3 block_index, const std::string& text);
  bool failed() const { return failed_.load(std::memory_order_relaxed); }

  const Kernel kernel;
  const dim3 grid, block;
  const size_t dynamic_bytes;
  const size_t shared_limit;  // bytes of static and dynamic shared memory together
  const Pass pass;

 private:
  uint64_t linear(uint3 block_index) const;

  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  uint64_t failed_block_ = UINT64_MAX;
  std::string failure_;
};

}  // namespace star::simt
