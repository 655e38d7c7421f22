// Who belongs to a group: the ranks meet at the store of rank 0's process, tell it that they live, and learn from it whose fault
// a failure is. What the engines (Gloo, a device's collectives) have in common.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "comm/store_client.h"
#include "comm/store_server.h"

namespace star {

struct GroupOptions {
  int rank = 0, size = 1;
  StoreAddress store;
  // How long a collective waits for the others, and how long the start does.
  std::chrono::milliseconds timeout{300000};
};

class Membership {
 public:
  using Clock = std::chrono::steady_clock;

  // Rank 0 opens the store. Throws ERR_COMM when it is not reached in time, a rank is there twice, or others count other
  // processes.
  explicit Membership(const GroupOptions& options);
  ~Membership() { close(); }
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;

  StoreClient& store() { return *store_; }
  std::chrono::milliseconds timeout() const { return timeout_; }
  bool failed() const { return failed_; }
  void enter() { ++entered_; }  // a collective has begun

  // For the start: what another rank gives the store under this key. Throws ERR_COMM when it does not come in time, or when a
  // rank is lost before.
  std::string await(const std::string& key);
  // All processes use the engine of rank 0. Throws ERR_COMM where this one has another.
  void agree(const std::string& engine);

  // What has made the start, or a collective, fail with `what`: one line for people, the same on every rank that learns of it.
  // `late`: it has waited for the time-out.
  std::string explain_start(const std::string& what);
  std::string explain(const std::string& what, bool late);
  // Who has ended, or what another rank has found out; nothing while all is well.
  std::optional<std::string> lost();

  // Tells the others the cause; what it gives is what was told first.
  std::string publish(const std::string& cause);

  // Ends this process's part. After a failure rank 0 waits a little for the others, which learn from its store what has happened.
  // Twice is harmless.
  void close() noexcept;

 private:
  std::string missing(const std::string& what);
  std::string find_cause(const std::string& what, bool late);
  std::string behind(const std::vector<StoreMember>& members, const std::string& what) const;
  void linger();
  void beat();

  const int rank_, size_;
  const std::chrono::milliseconds timeout_;
  const Clock::time_point deadline_;
  std::unique_ptr<StoreServer> server_;  // rank 0's
  std::unique_ptr<StoreClient> store_;
  std::atomic<int64_t> entered_{0};
  std::atomic<bool> closed_{false}, failed_{false};
  std::mutex heart_mutex_;
  std::condition_variable heart_;
  bool heart_stops_ = false;
  std::thread heartbeat_;
};

}  // namespace star
