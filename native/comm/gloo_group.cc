#include "comm/gloo_group.h"

#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>

#include <atomic>
#include <cstring>

#include "comm/queue.h"
#include "comm/reduce.h"
#include "comm/store_server.h"
#include "core/backend.h"

namespace star {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// A rank that was not heard of for so long is taken for lost when something has failed.
constexpr double kSilentSeconds = 4;
// How long after a failure its cause may take to show.
constexpr auto kCauseWait = milliseconds(1500);
// Of slots of our own collectives, beside those that Gloo uses (gloo/types.h).
constexpr uint8_t kReduceScatterSlots = 0x40;
const char* const kFailureKey = "failure";

// How Gloo exchanges addresses: through our store.
class Rendezvous final : public gloo::rendezvous::Store {
 public:
  Rendezvous(StoreClient& store, Clock::time_point deadline) : store_(store), deadline_(deadline) {}
  void set(const std::string& key, const std::vector<char>& data) override {
    store_.set("gloo/" + key, std::string(data.begin(), data.end()));
  }
  std::vector<char> get(const std::string& key) override {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - Clock::now());
    const auto value = store_.get("gloo/" + key, std::max(left, milliseconds(0)));
    if (!value) fail(ErrorCode::Comm, "not all processes came");
    return {value->begin(), value->end()};
  }
  void wait(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) get(key);
  }
  void wait(const std::vector<std::string>& keys, const milliseconds&) override { wait(keys); }

 private:
  StoreClient& store_;
  const Clock::time_point deadline_;
};

std::string seconds_of(milliseconds time) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", static_cast<double>(time.count()) / 1000);
  return text;
}

std::string place(size_t rank, const StoreMember& member) {
  return "rank " + std::to_string(rank) + " (process " + std::to_string(member.pid) + " on " + member.host + ")";
}

std::string list(const std::vector<size_t>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(ranks[i]);
  return text;
}

class GlooGroup final : public ProcessGroup {
 public:
  explicit GlooGroup(const GlooOptions& options)
      : ProcessGroup(options.rank, options.size),
        timeout_(options.timeout),
        queue_([this](const std::string& what) { return explain(what); }) {
    const auto deadline = Clock::now() + timeout_;
    try {
      StoreAddress address = options.store;
      if (options.rank == 0) {
        server_ = std::make_unique<StoreServer>(address.port, address.ports, options.size, address.job);
        address.port = server_->port();
        address.ports = 1;
      }
      store_ = std::make_unique<StoreClient>(address, deadline);
      store_->join(options.rank, options.size);
      connect(deadline);
    } catch (...) {
      end_heartbeat();
      throw;
    }
  }

  ~GlooGroup() override { close(); }

  const char* engine() const override { return "gloo"; }

  std::shared_ptr<Work> all_reduce(const Tensor& tensor, Reduction op) override {
    return add({tensor}, [this, data = tensor.data(), n = static_cast<size_t>(tensor.count()), dtype = tensor.dtype,
                          reduce = reduce_function(tensor.dtype, op)] {
      if (n == 0) return;
      gloo::AllreduceOptions call(context_);
      if (dtype_size(dtype) == 2)
        call.setOutput(static_cast<uint16_t*>(data), n);
      else
        call.setOutput(static_cast<uint32_t*>(data), n);
      call.setReduceFunction(reduce);
      call.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
      call.setTag(tag());
      gloo::allreduce(call);
    });
  }

  std::shared_ptr<Work> reduce_scatter(const Tensor& out, const Tensor& in) override {
    return add({out, in}, [this, to = out.data(), from = static_cast<char*>(in.data()), n = static_cast<size_t>(out.count()),
                           width = dtype_size(in.dtype), reduce = reduce_function(in.dtype, Reduction::Sum)] {
      if (n == 0) return;
      ring_reduce(from, n, width, reduce);
      const char* own = from + static_cast<size_t>(rank()) * n * width;
      if (to != own) std::memmove(to, own, n * width);
    });
  }

  std::shared_ptr<Work> all_gather(const Tensor& out, const Tensor& in) override {
    return add({out, in}, [this, to = static_cast<char*>(out.data()), from = static_cast<char*>(in.data()), bytes = in.bytes()] {
      if (bytes == 0) return;
      gloo::AllgatherOptions call(context_);
      // Without an input Gloo takes what lies in this rank's place.
      if (from != to + static_cast<size_t>(rank()) * bytes) call.setInput(from, bytes);
      call.setOutput(to, bytes * static_cast<size_t>(size()));
      call.setTag(tag());
      gloo::allgather(call);
    });
  }

  std::shared_ptr<Work> broadcast(const Tensor& tensor, int root) override {
    return add({tensor}, [this, data = static_cast<char*>(tensor.data()), bytes = tensor.bytes(), root] {
      if (bytes == 0) return;
      gloo::BroadcastOptions call(context_);
      call.setOutput(data, bytes);
      call.setRoot(root);
      call.setTag(tag());
      gloo::broadcast(call);
    });
  }

  std::shared_ptr<Work> barrier() override {
    return add({}, [this] {
      gloo::BarrierOptions call(context_);
      call.setTag(tag());
      gloo::barrier(call);
    });
  }

  void close() noexcept override {
    if (closed_.exchange(true)) return;
    try {
      if (store_ && !failed_) store_->leave();
    } catch (const Error&) {
      // Rank 0 has ended first; nobody is left to be told.
    }
    queue_.end("the process group was closed");
    end_heartbeat();
    context_.reset();
    // The others may still need the store of this process: it answers until the process ends.
    if (server_) server_.release();
  }

 private:
  std::shared_ptr<Work> add(std::initializer_list<Tensor> tensors, std::function<void()> job) {
    for (const Tensor& tensor : tensors)
      if (std::strcmp(tensor.backend().name(), "cpu") != 0)
        fail(ErrorCode::Device, "processes exchange tensors of the CPU, but one lies on %s: train with --device cpu",
             tensor.backend().name());
    return queue_.add(tensors, [this, job = std::move(job)] {
      ++entered_;
      job();
    });
  }

  uint32_t tag() { return ++tag_; }

  void connect(Clock::time_point deadline) {
    heartbeat_ = std::thread([this] { beat(); });
    Rendezvous rendezvous(*store_, deadline);
    gloo::transport::tcp::attr attributes(store_->local_address().c_str());
    try {
      auto device = gloo::transport::tcp::CreateDevice(attributes);
      auto context = std::make_shared<gloo::rendezvous::Context>(rank(), size());
      context->setTimeout(timeout_);
      context->connectFullMesh(rendezvous, device);
      context_ = context;
    } catch (const std::exception& e) {
      fail(ErrorCode::Comm, "%s", missing(e.what()).c_str());
    }
  }

  // Who did not come, where the start failed.
  std::string missing(const std::string& what) {
    std::vector<size_t> absent;
    const auto members = store_->members();
    for (size_t r = 0; r < members.size(); ++r)
      if (!members[r].here) absent.push_back(r);
    if (!absent.empty())
      return list(absent) + " of " + std::to_string(size()) + " did not come within " + seconds_of(timeout_) +
             ": look at its log, and whether as many processes were started";
    for (size_t r = 0; r < members.size(); ++r)
      if (members[r].gone || members[r].silent_seconds > kSilentSeconds)
        return place(r, members[r]) + " ended while the processes were connecting: look at its log";
    return "the processes did not connect to each other: " + what + "; check that no firewall is between them";
  }

  // Ring: in step s the part that this rank has summed so far goes to the next rank, which adds its own. After size − 1 steps
  // part `rank` is the sum over all.
  void ring_reduce(char* data, size_t n, size_t width, ReduceFunction reduce) {
    const int last = size() - 1, next = (rank() + 1) % size(), before = (rank() + last) % size();
    const auto part = [&](int i) { return data + static_cast<size_t>((i % size() + size()) % size()) * n * width; };
    const uint64_t slot = gloo::Slot::build(kReduceScatterSlots, tag());
    received_.resize(n * width);
    auto incoming = context_->createUnboundBuffer(received_.data(), n * width);
    for (int s = 0; s < last; ++s) {
      auto outgoing = context_->createUnboundBuffer(part(rank() - s - 1), n * width);
      incoming->recv(before, slot);
      outgoing->send(next, slot);
      incoming->waitRecv(timeout_);
      char* sum = part(rank() - s - 2);
      reduce(sum, sum, received_.data(), n);
      outgoing->waitSend(timeout_);
    }
  }

  // One line on what has made a collective fail: the same on every rank that learns of it.
  std::string explain(const std::string& what) {
    failed_ = true;
    std::string cause = find_cause(what);
    try {
      cause = store_->set_first(kFailureKey, cause);
    } catch (const Error&) {
      // Without the store everybody reports what it knows.
    }
    // Who waits for this rank learns of it by the closed connections.
    if (context_) context_->closeConnections();
    return cause;
  }

  std::string find_cause(const std::string& what) {
    const bool late = what.find("Timed out") != std::string::npos || what.find("timed out") != std::string::npos;
    const auto until = Clock::now() + kCauseWait;
    try {
      for (;;) {
        const auto members = store_->members();
        for (size_t r = 0; r < members.size(); ++r)
          if (members[r].gone || members[r].left)
            return place(r, members[r]) + (members[r].left ? " has left the group" : " has ended") +
                   " while others wait for it: look at its log, then start all processes again";
        for (size_t r = 0; r < members.size(); ++r)
          if (static_cast<int>(r) != rank() && members[r].silent_seconds > kSilentSeconds)
            return place(r, members[r]) + " was not heard of for " + std::to_string(static_cast<int>(members[r].silent_seconds)) +
                   " s: it hangs, was stopped, or its network is cut; look at its machine, then start all processes again";
        if (const auto known = store_->get(kFailureKey, milliseconds(0))) return *known;
        if (late || Clock::now() >= until) return behind(members, what);
        std::this_thread::sleep_for(milliseconds(50));
      }
    } catch (const Error& error) {
      return error.what();
    }
  }

  // All live; somebody has not come to the collective that the others wait in.
  std::string behind(const std::vector<StoreMember>& members, const std::string& what) const {
    int64_t most = entered_;
    for (const auto& m : members) most = std::max(most, m.entered);
    for (size_t r = 0; r < members.size(); ++r)
      if (static_cast<int>(r) != rank() && members[r].entered < most)
        return place(r, members[r]) + " did not come to a collective within " + seconds_of(timeout_) +
               " although it lives: it does something else, or takes longer than the time-out (STAR_COMM_TIMEOUT, in seconds)";
    return "the connection between processes broke: " + what;
  }

  void beat() {
    auto next = Clock::now();
    std::unique_lock<std::mutex> lock(heart_mutex_);
    while (!heart_stops_) {
      lock.unlock();
      try {
        store_->beat(entered_);
      } catch (const Error&) {
        return;  // the next collective fails too, and says why
      }
      lock.lock();
      next += std::chrono::seconds(1);
      heart_.wait_until(lock, next, [&] { return heart_stops_; });
    }
  }

  void end_heartbeat() noexcept {
    {
      const std::lock_guard<std::mutex> lock(heart_mutex_);
      heart_stops_ = true;
      heart_.notify_all();
    }
    if (heartbeat_.joinable()) heartbeat_.join();
  }

  const milliseconds timeout_;
  std::unique_ptr<StoreServer> server_;  // rank 0's
  std::unique_ptr<StoreClient> store_;
  std::shared_ptr<gloo::Context> context_;
  std::vector<char> received_;
  uint32_t tag_ = 0;
  std::atomic<int64_t> entered_{0};
  std::atomic<bool> closed_{false}, failed_{false};
  std::mutex heart_mutex_;
  std::condition_variable heart_;
  bool heart_stops_ = false;
  std::thread heartbeat_;
  WorkQueue queue_;
};

}  // namespace

std::shared_ptr<ProcessGroup> make_gloo_group(const GlooOptions& options) { return std::make_shared<GlooGroup>(options); }

}  // namespace star
