// The place where the processes of a group meet: a small store of texts by key over TCP, in a thread of rank 0's process, which
// also keeps who is there and when each was last heard of.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace star {

class StoreServer {
 public:
  // Listens at the first free port of `ports` from `port` on. Throws ERR_COMM when there is none.
  StoreServer(int port, int ports, int size, std::string job);
  ~StoreServer();
  StoreServer(const StoreServer&) = delete;
  StoreServer& operator=(const StoreServer&) = delete;

  int port() const { return port_; }

 private:
  using Clock = std::chrono::steady_clock;

  struct Connection {
    int rank = -1;  // of a member's own connection
    bool greeted = false;
    bool told = false;
    std::string from;              // address of the other end
    Clock::time_point since = {};  // when it came
    std::string in, out;
    bool waiting = false;  // for a key
    std::string key;
    Clock::time_point deadline;
  };
  struct Member {
    bool here = false, left = false, gone = false;
    std::string host;
    int64_t pid = 0, entered = 0;
    Clock::time_point heard;
  };

  void run();
  int wait_milliseconds() const;
  void accept_all();
  bool read_from(int socket, Connection& connection);  // false: the connection is over
  bool write_to(int socket, Connection& connection);
  void answer(Connection& connection, const std::string& message);
  void answer_waiting();
  void drop(int socket);
  void tell(Connection& connection, const char* what);  // on standard error, of the first few strangers
  void drop_silent();
  size_t strangers() const;  // connections that have not said yet who they are
  void keep(const std::string& key, std::string value);

  const int size_;
  const std::string job_;
  int listener_ = -1, port_ = 0;
  int wake_[2] = {-1, -1};
  std::map<int, Connection> connections_;
  std::map<std::string, std::string> values_;
  std::vector<Member> members_;
  size_t value_bytes_ = 0;
  int strangers_ = 0;  // dropped so far
  std::thread thread_;
};

}  // namespace star
