#include "comm/gloo_group.h"

#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>

#include <cstring>

#include "comm/queue.h"
#include "comm/reduce.h"
#include "core/backend.h"

namespace star {

namespace {

using std::chrono::milliseconds;

// Of slots of our own collectives, beside those that Gloo uses (gloo/types.h).
constexpr uint8_t kReduceScatterSlots = 0x40;

// How Gloo exchanges addresses: through our store.
class Rendezvous final : public gloo::rendezvous::Store {
 public:
  explicit Rendezvous(Membership& members) : members_(members) {}
  void set(const std::string& key, const std::vector<char>& data) override {
    members_.store().set("gloo/" + key, std::string(data.begin(), data.end()));
  }
  std::vector<char> get(const std::string& key) override {
    const std::string value = members_.await("gloo/" + key);
    return {value.begin(), value.end()};
  }
  void wait(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) get(key);
  }
  void wait(const std::vector<std::string>& keys, const milliseconds&) override { wait(keys); }

 private:
  Membership& members_;
};

class GlooGroup final : public ProcessGroup {
 public:
  explicit GlooGroup(const GroupOptions& options)
      : ProcessGroup(options.rank, options.size),
        members_(options),
        queue_([this](const std::string& what) { return explain(what); }) {
    members_.agree(engine());
    connect();
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

  // Every collective begins when its turn has come, in a batch or not.
  void begin_batch() override {}
  void end_batch() override {}

  void close() noexcept override {
    queue_.end("the process group was closed");
    members_.close();
    context_.reset();
  }

 private:
  std::shared_ptr<Work> add(std::initializer_list<Tensor> tensors, std::function<void()> job) {
    for (const Tensor& tensor : tensors)
      if (std::strcmp(tensor.backend().name(), "cpu") != 0)
        fail(ErrorCode::Device,
             "the processes of this group exchange tensors of the CPU, but one lies on %s: connect with that device",
             tensor.backend().name());
    return queue_.add(tensors, [this, job = std::move(job)] {
      members_.enter();
      job();
    });
  }

  uint32_t tag() { return ++tag_; }

  void connect() {
    Rendezvous rendezvous(members_);
    gloo::transport::tcp::attr attributes(members_.store().local_address().c_str());
    try {
      auto device = gloo::transport::tcp::CreateDevice(attributes);
      auto context = std::make_shared<gloo::rendezvous::Context>(rank(), size());
      context->setTimeout(members_.timeout());
      context->connectFullMesh(rendezvous, device);
      context_ = context;
    } catch (const Error&) {
      throw;  // says who it was
    } catch (const std::exception& e) {
      throw Error(ErrorCode::Comm, members_.explain_start(e.what()));
    }
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
      incoming->waitRecv(members_.timeout());
      char* sum = part(rank() - s - 2);
      reduce(sum, sum, received_.data(), n);
      outgoing->waitSend(members_.timeout());
    }
  }

  std::string explain(const std::string& what) {
    const bool late = what.find("Timed out") != std::string::npos || what.find("timed out") != std::string::npos;
    const std::string cause = members_.explain(what, late);
    // Who waits for this rank learns of it by the closed connections.
    if (context_) context_->closeConnections();
    return cause;
  }

  Membership members_;
  std::shared_ptr<gloo::Context> context_;
  std::vector<char> received_;
  uint32_t tag_ = 0;
  WorkQueue queue_;
};

}  // namespace

std::shared_ptr<ProcessGroup> make_gloo_group(const GroupOptions& options) { return std::make_shared<GlooGroup>(options); }

}  // namespace star
