// Collectives between the devices of several processes: what a backend offers to a process group (native/comm).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/dtype.h"

namespace star {

enum class Reduction { Sum, Max, Min };

// A point of the collectives' own stream of work.
class StreamMark {
 public:
  virtual ~StreamMark() = default;
  virtual bool reached() const = 0;  // by the device; may be called on any thread
  virtual void wait() = 0;           // work that the backend is given from now on begins behind it; the host continues
};

// All ranks call the same functions in the same order. A collective begins when the work that the backend was given before is
// done, and runs beside what it is given afterwards. `count` is in elements. Functions throw ERR_COMM with the library's words.
class Collectives {
 public:
  virtual ~Collectives() = default;

  virtual void all_reduce(const Ref& data, int64_t count, Reduction op) = 0;       // in place; f32, f16, bf16, i32
  virtual void reduce_scatter(const Ref& out, const CRef& in, int64_t count) = 0;  // in (size·count) → out (count), sums
  virtual void all_gather(const Ref& out, const CRef& in, int64_t count) = 0;      // in (count) → out (size·count)
  virtual void broadcast(const Ref& data, int64_t count, int root) = 0;            // in place
  // Collectives given between the two begin together.
  virtual void begin_batch() = 0;
  virtual void end_batch() = 0;
  virtual std::unique_ptr<StreamMark> mark() = 0;  // behind everything given so far

  virtual void attach() = 0;        // a thread that calls the functions for any thread calls this first
  virtual std::string error() = 0;  // what the library has found out meanwhile, or ""; may be called on any thread
  // Breaks off what is in flight, whose results are lost: the backend throws `why` (ERR_COMM) when it is next waited for. For any
  // thread. Twice is harmless.
  virtual void abort(const std::string& why) noexcept = 0;
};

}  // namespace star
