// Fibers: stacks that one OS thread switches between (Boost.Context's fcontext, some nanoseconds a switch), pooled because a
// grid needs thousands of them one after the other.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <vector>

#include "simt/sanitizer.h"

namespace star::simt {

struct Fiber {
  boost::context::detail::fcontext_t context = nullptr;  // where it resumes; null while it runs
  char* stack = nullptr;                                 // lowest address
  size_t bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's
};

// Leaves `from` for `to`; returns when somebody switches back to `from`.
inline void switch_fiber(Fiber& from, Fiber& to) {
  start_switch(&from.fake_stack, to.stack, to.bytes);
  const boost::context::detail::transfer_t arrived = boost::context::detail::jump_fcontext(to.context, &from);
  static_cast<Fiber*>(arrived.data)->context = arrived.fctx;
  finish_switch(from.fake_stack);
}

// The stack that this OS thread runs on, as something to switch back to.
Fiber native_fiber();

// The fibers of one OS thread. Each calls `body` when it is switched to for the first time; `body` never returns.
class FiberPool {
 public:
  explicit FiberPool(void (*body)());
  ~FiberPool();
  FiberPool(const FiberPool&) = delete;
  FiberPool& operator=(const FiberPool&) = delete;

  Fiber& take() {
    if (free_.empty()) grow();
    Fiber* fiber = free_.back();
    free_.pop_back();
    return *fiber;
  }
  // The fiber may still be running: it is only used after it was left.
  void give(Fiber& fiber) { free_.push_back(&fiber); }
  // Gives back a fiber that was left in the middle of its work, which is abandoned.
  void abandon(Fiber& fiber);

 private:
  void grow();
  void prepare(Fiber& fiber);

  std::vector<Fiber*> free_;
  std::vector<Fiber*> all_;
  std::vector<char*> maps_;
};

}  // namespace star::simt
