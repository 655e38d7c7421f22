#include "cpu/dnnl_support.h"

#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_THREADPOOL
#include <algorithm>
#include <atomic>
#include <oneapi/dnnl/dnnl_threadpool.hpp>

#include "threads/team.h"
#endif

namespace star {

namespace {

#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_THREADPOOL
// Gives oneDNN's loops to the threads of all other ops, where it was not built to call GCC's OpenMP (native/threads).
class Pool final : public dnnl::threadpool_interop::threadpool_iface {
 public:
  int get_num_threads() const override { return thread_count(); }
  bool get_in_parallel() const override { return in_region(); }
  uint64_t get_flags() const override { return 0; }  // a loop is done when parallel_for returns
  void parallel_for(int count, const std::function<void(int, int)>& body) override {
    std::atomic<int> next{0};
    run_shared(std::min(count, thread_count()), [&] {
      for (int i = next++; i < count; i = next++) body(i, count);
    });
  }
};

dnnl::stream make_stream() {
  static Pool pool;
  return dnnl::threadpool_interop::make_stream(dnnl_engine(), &pool);
}
#else
dnnl::stream make_stream() { return dnnl::stream(dnnl_engine()); }
#endif

}  // namespace

const dnnl::engine& dnnl_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& dnnl_stream() {
  thread_local dnnl::stream stream = make_stream();
  return stream;
}

dnnl::primitive_attr dnnl_attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

}  // namespace star
