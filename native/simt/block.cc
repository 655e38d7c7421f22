#include "simt/block.h"

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local dim3 blockDim{};
constinit thread_local dim3 gridDim{};

namespace star::simt {

constinit thread_local Block* Block::current_block_ = nullptr;

Block::Block() : pool_(&Block::work), native_(native_fiber()) {
  threads_.resize(kMaxThreads);
  current_block_ = this;
}
Block::~Block() { current_block_ = nullptr; }

void Block::begin(Grid& grid) {
  const dim3 size = grid.block;
  const unsigned count = size.x * size.y * size.z;
  if (count != count_ || size.x != blockDim.x || size.y != blockDim.y || indices_.empty()) {
    indices_.clear();
    for (unsigned z = 0; z < size.z; ++z)
      for (unsigned y = 0; y < size.y; ++y)
        for (unsigned x = 0; x < size.x; ++x) indices_.push_back({x, y, z});
    warps_.resize((count + kLanes - 1) / kLanes);
  }
  grid_ = &grid;
  count_ = count;
  descending_ = grid.pass.descending;
  blockDim = size;
  gridDim = grid.grid;
}

void Block::end() {
  for (Shared& shared : shared_) ::operator delete(shared.data, std::align_val_t(shared.alignment));
  shared_.clear();
  grid_ = nullptr;
}

void Block::run(uint3 block_index) {
  blockIdx = block_index;
  ++number_;
  exited_ = arrived_ = 0;
  predicates_ = 0;
  failed_ = false;
  ready_warps_ = 0;
  for (size_t w = 0; w < warps_.size(); ++w) {
    const unsigned lanes = count_ - static_cast<unsigned>(w) * kLanes;
    warps_[w].ready = lanes >= kLanes ? ~0u : (1u << lanes) - 1;
    warps_[w].arrived = 0;
    ready_warps_ |= 1u << w;
  }
  for (unsigned i = 0; i < count_; ++i) {
    Thread& thread = threads_[i];
    thread.fiber = nullptr;
    thread.state = State::New;
    thread.group = 0;
    thread.copies.clear();
  }
  warp_ = descending_ ? static_cast<unsigned>(warps_.size()) - 1 : 0;
  make_current(static_cast<unsigned>(select()));
  Fiber& fiber = pool_.take();
  threads_[current_].fiber = &fiber;
  switch_fiber(native_, fiber);
  if (failed_)
    for (unsigned i = 0; i < count_; ++i)
      if (threads_[i].fiber) pool_.abandon(*threads_[i].fiber);
}

// The next thread that can continue: of the warp that runs, or else of the first warp that can. -1: none.
int Block::select() {
  if (warps_[warp_].ready == 0) {
    if (ready_warps_ == 0) return -1;
    warp_ = static_cast<unsigned>(descending_ ? 31 - std::countl_zero(ready_warps_) : std::countr_zero(ready_warps_));
  }
  uint32_t& ready = warps_[warp_].ready;
  const int lane = descending_ ? 31 - std::countl_zero(ready) : std::countr_zero(ready);
  ready &= ~(1u << lane);
  if (ready == 0) ready_warps_ &= ~(1u << warp_);
  return static_cast<int>(warp_ * kLanes) + lane;
}

void Block::make_current(unsigned thread) {
  current_ = thread;
  threadIdx = indices_[thread];
}

void Block::work() { current().work_on(); }

void Block::work_on() {
  for (;;) {
    try {
      grid_->kernel.invoke(grid_->kernel.call);
    } catch (const std::exception& error) {
      grid_->fail(blockIdx, "thread " + thread_text(current_) + ": " + error.what());
      failed_ = true;
    }
    if (failed_) give_up();
    Thread& done = threads_[current_];
    done.state = State::Exited;
    ++exited_;
    const int next = select();
    if (next < 0 && exited_ < count_) {
      grid_->fail(blockIdx, stalled_text());
      give_up();
    }
    Fiber& self = *std::exchange(done.fiber, nullptr);
    if (next < 0) {
      pool_.give(self);
      switch_fiber(self, native_);
    } else if (Thread& thread = threads_[next]; thread.fiber) {
      make_current(static_cast<unsigned>(next));
      pool_.give(self);
      switch_fiber(self, *thread.fiber);
    } else {
      make_current(static_cast<unsigned>(next));
      thread.fiber = &self;
    }
  }
}

// Leaves the block for good. Its other threads stay where they are: nothing on their stacks needs a destructor.
void Block::give_up() {
  failed_ = true;
  switch_fiber(*threads_[current_].fiber, native_);
  std::abort();  // abandoned fibers are never resumed
}

// Resumes when another thread has made this one ready.
void Block::suspend() {
  Thread& self = threads_[current_];
  const int next = select();
  if (next < 0) fail(stalled_text());
  if (static_cast<unsigned>(next) == current_) return;
  make_current(static_cast<unsigned>(next));
  Thread& other = threads_[next];
  if (!other.fiber) other.fiber = &pool_.take();
  switch_fiber(*self.fiber, *other.fiber);
}

int Block::barrier(int predicate, Site site) {
  Thread& thread = threads_[current_];
  thread.state = State::AtBarrier;
  thread.name = "__syncthreads";
  thread.site = site;
  predicates_ += predicate != 0;
  if (arrived_++ == 0) {
    first_arrived_ = current_;
  } else {
    check_same(threads_[first_arrived_], thread.name, site);
  }
  if (arrived_ == count_) {
    arrived_ = 0;
    barrier_result_ = predicates_;
    predicates_ = 0;
    for (size_t w = 0; w < warps_.size(); ++w) {
      const unsigned lanes = count_ - static_cast<unsigned>(w) * kLanes;
      warps_[w].ready = lanes >= kLanes ? ~0u : (1u << lanes) - 1;
      ready_warps_ |= 1u << w;
    }
    warp_ = descending_ ? static_cast<unsigned>(warps_.size()) - 1 : 0;
  }
  suspend();
  thread.state = State::Ready;
  return barrier_result_;
}

void Block::warp(WarpOperation operation, const char* name, void* argument, uint32_t mask, Site site) {
  Warp& warp = warps_[warp_];
  Thread& thread = threads_[current_];
  const unsigned lane = this->lane();
  thread.state = State::InWarp;
  thread.name = name;
  thread.site = site;
  thread.operation = operation;
  thread.mask = mask;
  warp.arguments[lane] = argument;
  if (warp.arrived == 0) {
    warp.first = &thread;
    warp.same = true;
  } else {
    const Thread& first = *warp.first;
    warp.same =
        warp.same && first.operation == operation && first.mask == mask && std::memcmp(&first.site, &site, sizeof site) == 0;
  }
  warp.arrived |= 1u << lane;
  if (!(mask >> lane & 1)) fail(std::string(name) + " by a lane that its mask does not name");
  if ((warp.arrived & mask) == mask) {
    if (!warp.same) check_meeting(mask);
    operation(warp.arguments, mask);
    warp.arrived &= ~mask;
    warp.ready |= mask;
    ready_warps_ |= 1u << warp_;
  }
  suspend();
  thread.state = State::Ready;
}

// The lanes of the mask have arrived, but some lanes differ in what they do: those of the mask must not.
void Block::check_meeting(uint32_t mask) {
  const Thread& self = threads_[current_];
  for (unsigned l = 0; l < kLanes; ++l) {
    if (!(mask >> l & 1)) continue;
    const Thread& other = threads_[warp_ * kLanes + l];
    if (other.operation != self.operation || other.mask != mask) fail(stalled_text());
    check_same(other, self.name, self.site);
  }
}

void Block::check_same(const Thread& other, const char* name, const Site& site) {
  if (std::memcmp(&other.site, &site, sizeof site) == 0 && other.name == name) return;
  if (other.site.line() == site.line() && other.site.column() == site.column() &&
      (other.site.file_name() == site.file_name() || std::strcmp(other.site.file_name(), site.file_name()) == 0) &&
      std::strcmp(other.name, name) == 0)
    return;
  fail(stalled_text());
}

namespace {
std::string site_text(const char* name, const Site& site) {
  return std::string(name) + " at " + site.file_name() + ":" + std::to_string(site.line());
}
}  // namespace

std::string Block::thread_text(unsigned thread) const {
  const uint3 i = indices_[thread];
  return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

// Says where the threads of the block stand: no thread can continue, or two wait for each other at different places.
std::string Block::stalled_text() const {
  struct Group {
    std::string place;
    unsigned count, first;
  };
  std::vector<Group> groups;
  for (unsigned i = 0; i < count_; ++i) {
    const Thread& thread = threads_[i];
    std::string place;
    switch (thread.state) {
      case State::New: place = "not started"; break;
      case State::Ready: place = "ready"; break;
      case State::Exited: place = "left the kernel"; break;
      case State::AtBarrier:
      case State::InWarp: place = "in " + site_text(thread.name, thread.site); break;
    }
    size_t g = 0;
    while (g < groups.size() && groups[g].place != place) ++g;
    if (g == groups.size()) groups.push_back({place, 0, i});
    ++groups[g].count;
  }
  std::string text = "a barrier or warp operation was reached by a part of its threads only:";
  for (const Group& group : groups)
    text += (&group == groups.data() ? " " : "; ") + std::to_string(group.count) + " of " + std::to_string(count_) +
            " threads (" + thread_text(group.first) + (group.count > 1 ? " …) " : ") ") + group.place;
  return text;
}

void Block::fail(const std::string& text) { throw std::runtime_error(text); }

void Block::fail_misaligned(size_t bytes, const char* what, Site site) {
  fail(site_text(what, site) + ": the address is not a multiple of " + std::to_string(bytes));
}

Block::Shared& Block::find_shared(const SharedKey* key, const char* name, size_t bytes, size_t alignment) {
  for (Shared& shared : shared_)
    if (shared.key == key) return shared;
  size_t total = bytes;
  for (const Shared& shared : shared_) total += shared.bytes;
  if (total > grid_->shared_limit)
    fail("shared memory exceeds its limit with '" + std::string(name) + "': " + std::to_string(total) + " bytes of " +
         std::to_string(grid_->shared_limit));
  char* data = static_cast<char*>(::operator new(bytes, std::align_val_t(alignment)));
  return shared_.emplace_back(Shared{key, data, bytes, alignment, 0});
}

void* Block::shared(const SharedKey& key) {
  Shared& shared = find_shared(&key, key.name, key.bytes, key.alignment);
  if (shared.block != number_) {
    shared.block = number_;
    fill_garbage(shared.data, shared.bytes, grid_->pass.other_garbage);
  }
  return shared.data;
}

void* Block::dynamic_shared() {
  Shared& shared = find_shared(nullptr, "dynamic_shared", grid_->dynamic_bytes, 16);
  if (shared.block != number_) {
    shared.block = number_;
    fill_garbage(shared.data, shared.bytes, grid_->pass.other_garbage);
  }
  return shared.data;
}

void Block::check_shared(const void* data, size_t bytes, const char* what) {
  const char* first = static_cast<const char*>(data);
  if (reinterpret_cast<uintptr_t>(data) % bytes != 0)
    fail(std::string(what) + ": the address is not a multiple of " + std::to_string(bytes));
  for (const Shared& shared : shared_)
    if (first >= shared.data && first + bytes <= shared.data + shared.bytes) return;
  fail(std::string(what) + ": the address is not one of " + std::to_string(bytes) + " bytes in shared memory");
}

void Block::land(const Copy& copy) {
  if (copy.valid) {
    std::memcpy(copy.to, copy.from, 16);
  } else {
    std::memset(copy.to, 0, 16);
  }
}

void Block::copy_async(void* to, const void* from, bool valid) {
  check_shared(to, 16, "cp.async");
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0) fail("cp.async: the address in global memory is not a multiple of 16");
  Thread& thread = threads_[current_];
  const Copy copy{to, from, valid, thread.group};
  if (grid_->pass.copies_at_once) {
    land(copy);
  } else {
    thread.copies.push_back(copy);
  }
}

void Block::copy_commit() { ++threads_[current_].group; }

void Block::copy_wait(unsigned groups_left) {
  Thread& thread = threads_[current_];
  size_t done = 0;
  while (done < thread.copies.size() && thread.copies[done].group + groups_left < thread.group) land(thread.copies[done++]);
  thread.copies.erase(thread.copies.begin(), thread.copies.begin() + static_cast<ptrdiff_t>(done));
}

}  // namespace star::simt
