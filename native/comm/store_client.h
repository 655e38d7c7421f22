// A connection to the store of a group (store_server.h). Blocking, one request at a time; several threads may share one.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "comm/wire.h"

namespace star {

struct StoreAddress {
  std::string host;
  int port = 0;
  int ports = 1;    // the server may listen at one of so many from `port` on
  std::string job;  // tells this job's store from another's
};

// What the store knows of a rank.
struct StoreMember {
  bool here = false;  // has joined
  bool left = false;  // has ended its part in order
  bool gone = false;  // its connection broke
  double silent_seconds = 0;
  int64_t entered = 0;  // collectives it has begun
  int64_t pid = 0;
  std::string host;
};

class StoreClient {
 public:
  using Clock = std::chrono::steady_clock;

  // Tries to connect until the deadline: the server may start later. Throws ERR_COMM naming the address and the last reason.
  // Answers are waited for as long as that was, ten seconds at most.
  StoreClient(const StoreAddress& address, Clock::time_point deadline);
  ~StoreClient();
  StoreClient(const StoreClient&) = delete;
  StoreClient& operator=(const StoreClient&) = delete;

  // All throw ERR_COMM when the store does not answer.
  void join(int rank, int size);  // throws ERR_COMM also for a rank that is taken, and for another size
  void set(const std::string& key, const std::string& value);
  std::string set_first(const std::string& key, const std::string& value);  // what stands there: the first value given
  std::optional<std::string> get(const std::string& key, std::chrono::milliseconds patience);  // waits for the key
  int64_t add(const std::string& key, int64_t amount);
  void beat(int64_t entered);
  std::vector<StoreMember> members();
  void leave();

  std::string local_address() const;  // of this end of the connection
  const StoreAddress& address() const { return address_; }

 private:
  MessageReader ask(const MessageWriter& message) { return ask(message, patience_); }
  MessageReader ask(const MessageWriter& message, std::chrono::milliseconds patience);
  void send_all(const std::string& bytes, Clock::time_point deadline);
  std::string receive(size_t bytes, Clock::time_point deadline);
  bool wait_for(short events, Clock::time_point deadline) const;
  [[noreturn]] void lost(const char* what) const;
  std::string try_connect(int port, Clock::time_point deadline);  // "" or why not

  const StoreAddress address_;
  const std::chrono::milliseconds patience_;
  std::mutex mutex_;
  int socket_ = -1;
};

}  // namespace star
