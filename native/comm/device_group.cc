#include "comm/device_group.h"

#include <deque>
#include <utility>
#include <vector>

#include "core/backend.h"
#include "core/error.h"

namespace star {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// How often the watch looks at what is in flight.
constexpr auto kWatch = milliseconds(200);
// What takes longer makes the watch ask whether somebody is lost: a device does not notice.
constexpr auto kPatience = milliseconds(1000);
const char* const kIdKey = "collectives";
const char* const kClosed = "the process group was closed";

// What works have to know after their group has gone.
class Failure {
 public:
  void set(const std::string& why) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (why_.empty()) why_ = why;
  }
  void check() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!why_.empty()) throw Error(ErrorCode::Comm, why_);
  }
  bool is_set() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return !why_.empty();
  }

 private:
  mutable std::mutex mutex_;
  std::string why_;
};

// A collective that the device does when its turn comes. `done` and `wait` are for the thread that gave it.
class DeviceWork : public Work {
 public:
  DeviceWork(std::shared_ptr<const Failure> failure, std::initializer_list<Tensor> tensors)
      : failure_(std::move(failure)), tensors_(tensors) {}

  void begun(std::shared_ptr<StreamMark> mark) { mark_ = std::move(mark); }
  bool done() const override { return failure_->is_set() || (mark_ && mark_->reached()); }
  void wait() override {
    failure_->check();
    if (!mark_) fail(ErrorCode::Argument, "a collective of a batch is waited for before the batch has begun");
    mark_->wait();
    // What the backend does with the tensors from now on comes behind the collective.
    tensors_.clear();
  }

 protected:
  const std::shared_ptr<const Failure> failure_;
  std::shared_ptr<StreamMark> mark_;

 private:
  std::vector<Tensor> tensors_;  // their memory lives until the device is done with them
};

class DeviceBarrier final : public DeviceWork {
 public:
  using DeviceWork::DeviceWork;
  void wait() override {
    DeviceWork::wait();
    while (!mark_->reached()) std::this_thread::sleep_for(milliseconds(1));
    failure_->check();
  }
};

class DeviceGroup final : public ProcessGroup {
 public:
  DeviceGroup(Backend& backend, const GroupOptions& options)
      : ProcessGroup(options.rank, options.size), backend_(backend), members_(options) {
    members_.agree(engine());
    try {
      if (options.rank == 0) members_.store().set(kIdKey, backend.collectives_id());
      const std::string id = members_.await(kIdKey);
      begin_wait();
      collectives_ = backend.connect(id, options.rank, options.size, [this] { look_around(); });
    } catch (const Error& error) {
      if (members_.failed()) throw;  // in the words of who found it out
      if (error.code() == ErrorCode::Comm) throw Error(ErrorCode::Comm, members_.explain(error.what(), false));
      members_.publish("rank " + std::to_string(options.rank) + " could not begin: " + error.what());
      throw;
    }
    connected_ = true;
    watch_ = std::thread([this] { watch(); });
  }

  ~DeviceGroup() override { close(); }

  const char* engine() const override { return backend_.collectives_engine(); }

  std::shared_ptr<Work> all_reduce(const Tensor& tensor, Reduction op) override {
    return give<DeviceWork>({tensor}, tensor.count(), [&] { collectives_->all_reduce(tensor.ref(), tensor.count(), op); });
  }

  std::shared_ptr<Work> reduce_scatter(const Tensor& out, const Tensor& in) override {
    return give<DeviceWork>({out, in}, out.count(), [&] { collectives_->reduce_scatter(out.ref(), in.ref(), out.count()); });
  }

  std::shared_ptr<Work> all_gather(const Tensor& out, const Tensor& in) override {
    return give<DeviceWork>({out, in}, in.count(), [&] { collectives_->all_gather(out.ref(), in.ref(), in.count()); });
  }

  std::shared_ptr<Work> broadcast(const Tensor& tensor, int root) override {
    return give<DeviceWork>({tensor}, tensor.count(), [&] { collectives_->broadcast(tensor.ref(), tensor.count(), root); });
  }

  std::shared_ptr<Work> barrier() override {
    if (!barrier_.storage) {
      const int32_t nothing = 0;
      barrier_ = Tensor::empty(backend_, Shape{1}, DType::I32);
      backend_.copy_from_host(barrier_.data(), &nothing, sizeof nothing);
    }
    return give<DeviceBarrier>({barrier_}, 1, [&] { collectives_->all_reduce(barrier_.ref(), 1, Reduction::Max); });
  }

  void begin_batch() override {
    if (batch_) fail(ErrorCode::Argument, "a batch of collectives is begun within another");
    call([&] { collectives_->begin_batch(); });
    batch_ = true;
  }

  void end_batch() override {
    if (!batch_) fail(ErrorCode::Argument, "a batch of collectives is ended that was not begun");
    batch_ = false;
    call([&] { collectives_->end_batch(); });
    started(std::exchange(collected_, {}));
  }

  void close() noexcept override {
    if (!connected_.exchange(false)) return;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stops_ = true;
      wake_.notify_all();
    }
    watch_.join();
    collectives_.reset();  // waits for what is in flight
    flights_.clear();
    failure_->set(kClosed);
    members_.close();
  }

 private:
  // Collectives that began together, and end at the same mark.
  struct Flight {
    std::shared_ptr<StreamMark> mark;
    std::vector<std::shared_ptr<DeviceWork>> works;
  };

  template <class Kind, class Call>
  std::shared_ptr<Work> give(std::initializer_list<Tensor> tensors, int64_t count, Call collective) {
    for (const Tensor& tensor : tensors)
      if (&tensor.backend() != &backend_)
        fail(ErrorCode::Device,
             "the processes of this group exchange tensors of %s, but one lies on %s: connect with that device", backend_.name(),
             tensor.backend().name());
    auto work = std::make_shared<Kind>(failure_, tensors);
    try {
      if (count > 0) call(collective);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::Comm) throw;
      return work;  // whose `wait` says it
    }
    if (batch_)
      collected_.push_back(work);
    else
      started({work});
    return work;
  }

  // A function of the collectives. What it throws is the group's failure.
  template <class Call>
  void call(Call function) {
    failure_->check();
    members_.enter();
    begin_wait();
    try {
      function();
    } catch (const Error& error) {
      if (error.code() == ErrorCode::Comm && !failure_->is_set()) give_up(members_.explain(error.what(), false));
      failure_->check();
      throw;
    }
  }

  void started(std::vector<std::shared_ptr<DeviceWork>> works) {
    const std::shared_ptr<StreamMark> mark = collectives_->mark();
    for (const auto& work : works) work->begun(mark);
    // Works that are done are dropped here: their memory is given back on the thread that uses the backend.
    std::vector<Flight> over;
    const std::lock_guard<std::mutex> lock(mutex_);
    while (!flights_.empty() && flights_.front().mark->reached()) {
      over.push_back(std::move(flights_.front()));
      flights_.pop_front();
    }
    if (flights_.empty()) moved_ = Clock::now();
    flights_.push_back({mark, std::move(works)});
  }

  void begin_wait() { waits_since_ = looked_ = Clock::now(); }

  // Called again and again while the library waits for other ranks.
  void look_around() {
    failure_->check();
    const auto now = Clock::now();
    if (now - looked_ < kWatch) return;
    looked_ = now;
    if (now - waits_since_ > members_.timeout())
      give_up(connected_ ? members_.explain("a collective did not begin", true)
                         : members_.explain_start("the devices did not find each other"));
    else if (now - waits_since_ > kPatience)
      if (const auto cause = members_.lost()) give_up(members_.publish(*cause));
    failure_->check();
  }

  // A thread of its own: looks whether what is in flight arrives.
  void watch() {
    collectives_->attach();
    std::unique_lock<std::mutex> lock(mutex_);
    const StreamMark* oldest = nullptr;
    while (!wake_.wait_for(lock, kWatch, [&] { return stops_; })) {
      if (failure_->is_set()) return;
      std::shared_ptr<StreamMark> first;
      for (const Flight& flight : flights_)
        if (!flight.mark->reached()) {
          first = flight.mark;
          break;
        }
      const auto now = Clock::now();
      if (first.get() != oldest) {
        // Its turn has come: what lies before it is done.
        oldest = first.get();
        moved_ = now;
      }
      const auto since = moved_;
      lock.unlock();
      try {
        look_at(first != nullptr, now - since);
      } catch (const Error& error) {
        give_up(error.what());
      }
      lock.lock();
    }
  }

  void look_at(bool in_flight, Clock::duration since) {
    if (const std::string error = collectives_->error(); !error.empty()) return give_up(members_.explain(error, false));
    if (!in_flight || since < kPatience) return;
    if (since > members_.timeout()) return give_up(members_.explain("a collective did not end", true));
    if (const auto cause = members_.lost()) give_up(members_.publish(*cause));
  }

  void give_up(const std::string& why) {
    failure_->set(why);
    if (collectives_) collectives_->abort(why);
  }

  Backend& backend_;
  const std::shared_ptr<Failure> failure_ = std::make_shared<Failure>();
  Membership members_;
  std::unique_ptr<Collectives> collectives_;
  Tensor barrier_;  // (1)
  bool batch_ = false;
  std::vector<std::shared_ptr<DeviceWork>> collected_;  // of the batch
  Clock::time_point waits_since_, looked_;
  std::atomic<bool> connected_{false};
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  bool stops_ = false;
  std::deque<Flight> flights_;
  Clock::time_point moved_;  // when the oldest of them got its turn
  std::thread watch_;
};

}  // namespace

std::shared_ptr<ProcessGroup> make_device_group(Backend& backend, const GroupOptions& options) {
  return std::make_shared<DeviceGroup>(backend, options);
}

}  // namespace star
