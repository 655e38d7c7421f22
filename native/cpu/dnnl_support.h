// What the oneDNN ops share: engine and stream, errors as star::Error, and a cache of prepared primitives.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "core/allocator.h"
#include "core/error.h"

namespace star {

const dnnl::engine& dnnl_engine();
dnnl::stream& dnnl_stream();  // one a thread; work given to a CPU stream is done when the call returns

// Runs body and throws star::Error for a dnnl::error.
template <typename Body>
void dnnl_guard(const char* op, Body&& body) {
  try {
    body();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory)
      fail(ErrorCode::Memory, "%s: oneDNN is out of memory; use a smaller batch or model", op);
    fail(ErrorCode::Internal, "%s: oneDNN failed with status %d (%s)", op, static_cast<int>(error.status), error.message);
  }
}

// Attributes of every primitive: the caller gives the working memory, so that one primitive may run on several threads
// at once and its memory comes from our allocator.
dnnl::primitive_attr dnnl_attributes();

inline dnnl::memory dnnl_view(const dnnl::memory::desc& desc, const void* data) {
  return dnnl::memory(desc, dnnl_engine(), const_cast<void*>(data));
}

// A block of the backend's memory for the time of one call.
class Workspace {
 public:
  Workspace(CachingAllocator& allocator, size_t bytes)
      : allocator_(allocator), bytes_(bytes), data_(bytes ? allocator.allocate(bytes) : nullptr) {}
  ~Workspace() {
    if (data_) allocator_.release(data_, bytes_);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data() const { return data_; }

 private:
  CachingAllocator& allocator_;
  size_t bytes_;
  void* data_;
};

// Prepared primitives by the numbers that define them; the least recently used one leaves when there are too many.
// Making a primitive compiles machine code (milliseconds), so each shape pays for it once.
template <typename Plan>
class PlanCache {
 public:
  using Key = std::vector<int64_t>;
  explicit PlanCache(size_t capacity) : capacity_(capacity) {}

  std::shared_ptr<const Plan> get(const Key& key, const std::function<Plan()>& make) {
    {
      std::lock_guard lock(mutex_);
      if (auto it = map_.find(key); it != map_.end()) {
        order_.splice(order_.begin(), order_, it->second);
        return it->second->second;
      }
    }
    auto plan = std::make_shared<const Plan>(make());  // outside the lock: another thread's work does not wait for the compiler
    std::lock_guard lock(mutex_);
    if (auto it = map_.find(key); it != map_.end()) return it->second->second;
    order_.emplace_front(key, plan);
    map_[key] = order_.begin();
    if (map_.size() > capacity_) {
      map_.erase(order_.back().first);
      order_.pop_back();
    }
    return plan;
  }

 private:
  using Order = std::list<std::pair<Key, std::shared_ptr<const Plan>>>;
  const size_t capacity_;
  std::mutex mutex_;
  Order order_;  // most recently used first
  std::map<Key, typename Order::iterator> map_;
};

}  // namespace star
