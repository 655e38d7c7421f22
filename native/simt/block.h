// One thread block at a time: its threads as fibers, their barriers and warp operations, its shared memory.
// A fiber takes up one thread after the other; it is left only where a thread waits, so kernels without barriers never switch.
#pragma once

#include <cstdint>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "simt/fiber.h"
#include "simt/grid.h"

// The built-in variables of device code, set whenever another thread resumes.
extern constinit thread_local uint3 threadIdx __attribute__((tls_model("initial-exec")));
extern constinit thread_local uint3 blockIdx __attribute__((tls_model("initial-exec")));
extern constinit thread_local dim3 blockDim __attribute__((tls_model("initial-exec")));
extern constinit thread_local dim3 gridDim __attribute__((tls_model("initial-exec")));

namespace star::simt {

constexpr unsigned kLanes = 32;
constexpr unsigned kMaxThreads = 1024;

// Where device code stands, for messages and to tell barriers apart.
using Site = std::source_location;

// Computes a warp operation for all lanes of `mask` once the last of them has arrived; arguments[l] is what lane l gave.
using WarpOperation = void (*)(void* const* arguments, uint32_t mask);

// Identity and size of a variable in shared memory.
struct SharedKey {
  const char* name;
  size_t bytes, alignment;
};

class Block {
 public:
  // The block that runs on this OS thread.
  static Block& current() { return *current_block_; }

  Block();
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  void begin(Grid& grid);  // before the blocks of a launch
  void run(uint3 block_index);
  void end();  // after them: gives shared memory back

  // What device code calls. All of them throw when something is wrong, which ends the block.
  int barrier(int predicate, Site site);  // number of threads whose predicate was not 0
  void warp(WarpOperation operation, const char* name, void* argument, uint32_t mask, Site site);
  unsigned lane() const { return current_ % kLanes; }
  void* shared(const SharedKey& key);
  void* dynamic_shared();
  // Fails unless the bytes lie within one shared variable and at a multiple of their number.
  void check_shared(const void* data, size_t bytes, const char* what);
  // Fails unless the address is a multiple of `bytes`.
  static void check_aligned(const void* data, size_t bytes, const char* what, Site site) {
    if (reinterpret_cast<uintptr_t>(data) % bytes != 0) current().fail_misaligned(bytes, what, site);
  }
  void copy_async(void* to, const void* from, bool valid);
  void copy_commit();
  void copy_wait(unsigned groups_left);
  [[noreturn]] void fail(const std::string& text);

 private:
  enum class State : uint8_t { New, Ready, AtBarrier, InWarp, Exited };
  struct Copy {
    void* to;
    const void* from;
    bool valid;
    unsigned group;
  };
  struct Thread {
    Fiber* fiber = nullptr;
    State state = State::New;
    const char* name = "";  // of the operation it waits in
    Site site;
    WarpOperation operation = nullptr;
    uint32_t mask = 0;
    unsigned group = 0;  // of copies, the open one
    std::vector<Copy> copies;
  };
  struct Warp {
    uint32_t ready = 0;  // lanes that can continue
    uint32_t arrived = 0;
    const Thread* first = nullptr;  // to arrive
    bool same = true;               // all that arrived do the same at the same place
    void* arguments[kLanes];
  };
  struct Shared {
    const SharedKey* key;
    char* data;
    size_t bytes, alignment;
    uint64_t block;  // that it was last filled for
  };

  [[noreturn]] void fail_misaligned(size_t bytes, const char* what, Site site);
  static void work();
  [[noreturn]] void work_on();
  int select();
  void make_current(unsigned thread);
  void suspend();
  void exit_thread();
  void check_meeting(uint32_t mask);
  void check_same(const Thread& other, const char* name, const Site& site);
  std::string stalled_text() const;
  [[noreturn]] void give_up();
  std::string thread_text(unsigned thread) const;
  Shared& find_shared(const SharedKey* key, const char* name, size_t bytes, size_t alignment);
  void land(const Copy& copy);

  static constinit thread_local Block* current_block_ __attribute__((tls_model("initial-exec")));

  Grid* grid_ = nullptr;
  FiberPool pool_;
  Fiber native_;
  std::vector<Thread> threads_;
  std::vector<uint3> indices_;  // of the threads
  std::vector<Warp> warps_;
  std::vector<Shared> shared_;
  uint64_t number_ = 0;  // of the block, counted over all launches
  unsigned count_ = 0;   // threads in the block
  unsigned current_ = 0;
  unsigned warp_ = 0;  // that runs
  uint32_t ready_warps_ = 0;
  unsigned exited_ = 0, arrived_ = 0;  // at the barrier
  unsigned first_arrived_ = 0;
  int predicates_ = 0, barrier_result_ = 0;
  bool descending_ = false, failed_ = false;
};

}  // namespace star::simt
