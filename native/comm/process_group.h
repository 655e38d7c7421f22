// A group of processes that do collectives together. Every rank gives the same collectives in the same order; they run in that
// order, beside the thread that gave them.
#pragma once

#include <memory>

#include "core/collectives.h"
#include "core/tensor.h"

namespace star {

// One collective in flight. It keeps its tensors' memory alive.
class Work {
 public:
  virtual ~Work() = default;
  virtual bool done() const = 0;  // finished, well or not
  // On the CPU blocks until the collective has finished; on a GPU makes the backend's stream wait for it instead, without
  // blocking the host. Throws ERR_COMM when it failed.
  virtual void wait() = 0;
};

class ProcessGroup {
 public:
  ProcessGroup(int rank, int size) : rank_(rank), size_(size) {}
  virtual ~ProcessGroup() = default;
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  virtual const char* engine() const = 0;  // "gloo", "nccl", "single"

  // f32, f16, bf16, i32; every 16-bit sum of two is computed in f32 and rounded once. The result has the same bits on every rank.
  virtual std::shared_ptr<Work> all_reduce(const Tensor& tensor, Reduction op) = 0;  // in place
  // in (size·n) → out (n): the sums of elements [rank·n, (rank + 1)·n). `in` is overwritten; `out` may be those elements of it.
  virtual std::shared_ptr<Work> reduce_scatter(const Tensor& out, const Tensor& in) = 0;
  // Any type. in (n) → out (size·n); `in` may be its elements [rank·n, (rank + 1)·n).
  virtual std::shared_ptr<Work> all_gather(const Tensor& out, const Tensor& in) = 0;
  virtual std::shared_ptr<Work> broadcast(const Tensor& tensor, int root) = 0;  // in place, any type
  virtual std::shared_ptr<Work> barrier() = 0;                                  // its `wait` blocks the host on a GPU too

  // What is given between the two may begin together, at the end: many small collectives at the price of one.
  virtual void begin_batch() = 0;
  virtual void end_batch() = 0;

  // Ends the group: what is in flight fails with ERR_COMM. Twice is harmless.
  virtual void close() noexcept = 0;

 private:
  const int rank_, size_;
};

// A group of one: every collective is done at once.
std::shared_ptr<ProcessGroup> make_single_group();

}  // namespace star
