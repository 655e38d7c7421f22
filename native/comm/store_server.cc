#include "comm/store_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "comm/wire.h"

namespace star {

namespace {

int listen_at(int port) {
  const int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const bool six = listener >= 0;
  const int any = six ? listener : socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (any < 0) return -1;
  const int on = 1, off = 0;
  setsockopt(any, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  int bound = 0;
  if (six) {
    setsockopt(any, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(static_cast<uint16_t>(port));
    address.sin6_addr = in6addr_any;
    bound = bind(any, reinterpret_cast<sockaddr*>(&address), sizeof address);
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    bound = bind(any, reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  if (bound == 0 && listen(any, 1024) == 0) return any;
  close(any);
  return -1;
}

// A stranger has so long, and so many bytes, to say who he is; and no more of them are let in at once.
constexpr std::chrono::seconds kGreetingTime{10};
constexpr uint32_t kLongestGreeting = 1024;
constexpr size_t kMostStrangers = 256;
// Strangers that are told of one by one; a scan of ports makes thousands.
constexpr int kMostTold = 10;
// What all values may take together. Those of a group are some hundred bytes a rank.
constexpr size_t kMostValueBytes = size_t{64} << 20;

std::string address_of(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  const void* bytes = address.ss_family == AF_INET6
                          ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr)
                          : &reinterpret_cast<const sockaddr_in&>(address).sin_addr;
  return inet_ntop(address.ss_family, bytes, text, sizeof text) ? text : "an unknown address";
}

std::string refusal(const std::string& why) {
  return MessageWriter().number(static_cast<int64_t>(StoreStatus::Refused)).text(why).framed();
}

MessageWriter good() { return MessageWriter().number(static_cast<int64_t>(StoreStatus::Good)); }

}  // namespace

StoreServer::StoreServer(int port, int ports, int size, std::string job) : size_(size), job_(std::move(job)), members_(size) {
  for (int i = 0; i < ports && listener_ < 0; ++i) {
    port_ = port + i;
    listener_ = listen_at(port_);
  }
  if (listener_ < 0)
    fail(ErrorCode::Comm, "rank 0 cannot listen at port %d: another program, or another rank 0, has it; set another MASTER_PORT",
         port);
  if (pipe2(wake_, O_CLOEXEC) != 0) {
    ::close(listener_);
    fail(ErrorCode::Comm, "rank 0 has no file descriptors left for its store");
  }
  thread_ = std::thread([this] { run(); });
}

StoreServer::~StoreServer() {
  const char end = 0;
  while (write(wake_[1], &end, 1) < 0 && errno == EINTR) {
  }
  thread_.join();
  for (const auto& [socket, connection] : connections_) ::close(socket);
  for (int descriptor : {listener_, wake_[0], wake_[1]}) ::close(descriptor);
}

int StoreServer::wait_milliseconds() const {
  auto next = Clock::now() + std::chrono::seconds(60);
  for (const auto& [socket, connection] : connections_) {
    if (connection.waiting) next = std::min(next, connection.deadline);
    if (!connection.greeted) next = std::min(next, connection.since + kGreetingTime);
  }
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()).count() + 1;
  return static_cast<int>(std::max<int64_t>(0, left));
}

void StoreServer::run() {
  for (;;) {
    const bool full = strangers() >= kMostStrangers;
    std::vector<pollfd> watched{{wake_[0], POLLIN, 0}, {listener_, static_cast<short>(full ? 0 : POLLIN), 0}};
    for (const auto& [socket, connection] : connections_)
      watched.push_back({socket, static_cast<short>(POLLIN | (connection.out.empty() ? 0 : POLLOUT)), 0});
    if (poll(watched.data(), watched.size(), wait_milliseconds()) < 0 && errno != EINTR) return;
    if (watched[0].revents != 0) return;
    for (size_t i = 2; i < watched.size(); ++i) {
      const int socket = watched[i].fd;
      Connection& connection = connections_.at(socket);
      bool open = true;
      if (watched[i].revents & (POLLIN | POLLHUP | POLLERR)) open = read_from(socket, connection);
      if (open && (watched[i].revents & POLLOUT)) open = write_to(socket, connection);
      if (!open) {
        if (!connection.greeted) tell(connection, "did not speak as a process of a training does");
        drop(socket);
      }
    }
    drop_silent();
    if (watched[1].revents != 0) accept_all();
    answer_waiting();
    for (auto& [socket, connection] : connections_)
      if (!connection.out.empty()) write_to(socket, connection);
  }
}

void StoreServer::accept_all() {
  while (strangers() < kMostStrangers) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    const int socket = accept4(listener_, reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket < 0) {
      // Without descriptors left the listener stays readable: others get the time to close some.
      if (errno == EMFILE || errno == ENFILE) std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return;
    }
    const int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Connection& connection = connections_[socket];
    connection.from = address_of(address);
    connection.since = Clock::now();
  }
}

bool StoreServer::read_from(int socket, Connection& connection) {
  char piece[65536];
  for (;;) {
    const ssize_t count = recv(socket, piece, sizeof piece, 0);
    if (count == 0) return false;
    if (count < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) return false;
      break;
    }
    connection.in.append(piece, static_cast<size_t>(count));
    uint32_t length = 0;
    while (connection.in.size() >= sizeof length) {
      std::memcpy(&length, connection.in.data(), sizeof length);
      if (length > (connection.greeted ? kLongestMessage : kLongestGreeting)) return false;
      if (connection.in.size() < sizeof length + length) break;
      const std::string message = connection.in.substr(sizeof length, length);
      connection.in.erase(0, sizeof length + length);
      try {
        answer(connection, message);
      } catch (const std::exception&) {
        return false;  // no message of ours
      }
    }
  }
  return true;
}

bool StoreServer::write_to(int socket, Connection& connection) {
  while (!connection.out.empty()) {
    const ssize_t count = send(socket, connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
    if (count < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    connection.out.erase(0, static_cast<size_t>(count));
  }
  return true;
}

void StoreServer::answer(Connection& connection, const std::string& message) {
  MessageReader reader(message);
  const auto op = static_cast<StoreOp>(reader.number());
  if (!connection.greeted) {
    if (op != StoreOp::Hello || reader.text() != kStoreMagic) fail(ErrorCode::Comm, "not a client of this store");
    if (reader.text() != job_) {
      tell(connection, "belongs to another training, or has another STAR_GROUP_SECRET");
      connection.out += refusal("another job");
      return;
    }
    connection.greeted = true;
    connection.out += good().framed();
    return;
  }
  if (connection.rank >= 0) members_[connection.rank].heard = Clock::now();
  switch (op) {
    case StoreOp::Join: {
      const int64_t rank = reader.number(), size = reader.number(), pid = reader.number();
      const std::string host = reader.text();
      if (size != size_) {
        connection.out +=
            refusal("rank " + std::to_string(rank) + " on " + host + " was started as one of " + std::to_string(size) +
                    " processes, rank 0 as one of " + std::to_string(size_) + ": give all of them the same WORLD_SIZE");
        return;
      }
      if (rank < 0 || rank >= size_) fail(ErrorCode::Comm, "a rank that is none");
      Member& member = members_[rank];
      if (member.here) {
        connection.out += refusal("rank " + std::to_string(rank) + " is there already: process " + std::to_string(member.pid) +
                                  " on " + member.host + "; give every process a RANK of its own");
        return;
      }
      member = {true, false, false, host, pid, 0, Clock::now()};
      connection.rank = static_cast<int>(rank);
      connection.out += good().framed();
      return;
    }
    case StoreOp::Set: {
      const std::string key = reader.text();
      keep(key, reader.text());
      connection.out += good().framed();
      return;
    }
    case StoreOp::SetFirst: {  // answers what stands there now
      const std::string key = reader.text();
      const std::string value = reader.text();
      if (values_.count(key) == 0) keep(key, value);
      connection.out += good().text(values_.at(key)).framed();
      return;
    }
    case StoreOp::Get: {
      connection.waiting = true;
      connection.key = reader.text();
      connection.deadline = Clock::now() + std::chrono::milliseconds(std::clamp<int64_t>(reader.number(), 0, int64_t{1} << 40));
      return;
    }
    case StoreOp::Add: {
      const std::string key = reader.text();
      const auto found = values_.find(key);
      int64_t sum = found == values_.end() ? 0 : std::stoll(found->second);
      if (__builtin_add_overflow(sum, reader.number(), &sum)) fail(ErrorCode::Comm, "a sum that is too large");
      keep(key, std::to_string(sum));
      connection.out += good().number(sum).framed();
      return;
    }
    case StoreOp::Beat:
      if (connection.rank >= 0) members_[connection.rank].entered = reader.number();
      connection.out += good().framed();
      return;
    case StoreOp::Members: {
      MessageWriter reply = good();
      for (const Member& m : members_) {
        const auto silent = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - m.heard).count();
        reply.number(m.here)
            .number(m.left)
            .number(m.gone)
            .number(m.here ? silent : 0)
            .number(m.entered)
            .number(m.pid)
            .text(m.host);
      }
      connection.out += reply.framed();
      return;
    }
    case StoreOp::Leave:
      if (connection.rank >= 0) members_[connection.rank].left = true;
      connection.out += good().framed();
      return;
    default: fail(ErrorCode::Comm, "an unknown message");
  }
}

void StoreServer::answer_waiting() {
  const auto now = Clock::now();
  for (auto& [socket, connection] : connections_) {
    if (!connection.waiting) continue;
    const auto value = values_.find(connection.key);
    if (value != values_.end())
      connection.out += good().text(value->second).framed();
    else if (now >= connection.deadline)
      connection.out += MessageWriter().number(static_cast<int64_t>(StoreStatus::TimedOut)).framed();
    else
      continue;
    connection.waiting = false;
  }
}

void StoreServer::keep(const std::string& key, std::string value) {
  const auto old = values_.find(key);
  const size_t bytes = value_bytes_ - (old == values_.end() ? 0 : key.size() + old->second.size()) + key.size() + value.size();
  if (bytes > kMostValueBytes) fail(ErrorCode::Comm, "the store is full");
  value_bytes_ = bytes;
  values_[key] = std::move(value);
}

size_t StoreServer::strangers() const {
  return static_cast<size_t>(
      std::count_if(connections_.begin(), connections_.end(), [](const auto& entry) { return !entry.second.greeted; }));
}

void StoreServer::drop_silent() {
  const auto now = Clock::now();
  std::vector<int> silent;
  for (const auto& [socket, connection] : connections_)
    if (!connection.greeted && now >= connection.since + kGreetingTime) silent.push_back(socket);
  for (int socket : silent) {
    tell(connections_.at(socket), "said nothing");
    drop(socket);
  }
}

void StoreServer::tell(Connection& connection, const char* what) {
  if (connection.told) return;
  connection.told = true;
  if (strangers_++ < kMostTold)
    std::fprintf(stderr, "star: dropped a connection from %s to port %d: it %s%s\n", connection.from.c_str(), port_, what,
                 strangers_ == kMostTold ? "; further ones are not told" : "");
}

void StoreServer::drop(int socket) {
  const int rank = connections_.at(socket).rank;
  if (rank >= 0 && !members_[rank].left) members_[rank].gone = true;
  ::close(socket);
  connections_.erase(socket);
}

}  // namespace star
