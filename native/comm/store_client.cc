#include "comm/store_client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

namespace star {

namespace {

using std::chrono::milliseconds;

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

MessageWriter request(StoreOp op) { return MessageWriter().number(static_cast<int64_t>(op)); }

}  // namespace

StoreClient::StoreClient(const StoreAddress& address, Clock::time_point deadline)
    : address_(address),
      patience_(std::clamp(std::chrono::duration_cast<milliseconds>(deadline - Clock::now()), milliseconds(1000),
                           milliseconds(10000))) {
  std::string why = "no time was given";
  for (int i = 0;; i = (i + 1) % address.ports) {
    why = try_connect(address.port + i, deadline);
    if (why.empty()) return;
    if (Clock::now() >= deadline) break;
    if (i == address.ports - 1) std::this_thread::sleep_for(milliseconds(100));
  }
  fail(ErrorCode::Comm,
       "rank 0 was not reached at %s port %d (%s): check MASTER_ADDR and MASTER_PORT, that rank 0 runs there, and the network",
       address.host.c_str(), address.port, why.c_str());
}

StoreClient::~StoreClient() {
  if (socket_ >= 0) close(socket_);
}

std::string StoreClient::try_connect(int port, Clock::time_point deadline) {
  deadline = std::min(deadline, Clock::now() + std::chrono::seconds(3));
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  const int error = getaddrinfo(address_.host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) return gai_strerror(error);
  std::string why = "no address";
  for (const addrinfo* a = found; a != nullptr && socket_ < 0; a = a->ai_next) {
    socket_ = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (socket_ < 0) continue;
    int status = 0;
    socklen_t size = sizeof status;
    if (connect(socket_, a->ai_addr, a->ai_addrlen) != 0) status = errno;
    if (status == EINPROGRESS) {
      if (wait_for(POLLOUT, deadline))
        getsockopt(socket_, SOL_SOCKET, SO_ERROR, &status, &size);
      else
        status = ETIMEDOUT;
    }
    if (status != 0) {
      why = strerror(status);
      close(socket_);
      socket_ = -1;
    }
  }
  freeaddrinfo(found);
  if (socket_ < 0) return why;
  const int on = 1;
  setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  try {
    MessageReader reader = ask(request(StoreOp::Hello).text(kStoreMagic).text(address_.job), milliseconds(3000));
    if (static_cast<StoreStatus>(reader.number()) == StoreStatus::Good) return "";
    fail(ErrorCode::Comm, "another job");
  } catch (const Error&) {
    close(socket_);
    socket_ = -1;
    return "what listens there is not this training's rank 0";
  }
}

bool StoreClient::wait_for(short events, Clock::time_point deadline) const {
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now()).count();
    pollfd watched{socket_, events, 0};
    const int count = poll(&watched, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
    if (count > 0) return true;
    if (count == 0) return false;
    if (errno != EINTR) return false;
  }
}

void StoreClient::lost(const char* what) const {
  fail(ErrorCode::Comm,
       "rank 0 at %s port %d %s: it has ended, or the network between is cut; look at its log, then start all processes again",
       address_.host.c_str(), address_.port, what);
}

void StoreClient::send_all(const std::string& bytes, Clock::time_point deadline) {
  for (size_t sent = 0; sent < bytes.size();) {
    if (!wait_for(POLLOUT, deadline)) lost("takes no messages");
    const ssize_t count = send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count > 0)
      sent += static_cast<size_t>(count);
    else if (errno != EAGAIN && errno != EINTR)
      lost("has closed the connection");
  }
}

std::string StoreClient::receive(size_t bytes, Clock::time_point deadline) {
  std::string text(bytes, '\0');
  for (size_t got = 0; got < bytes;) {
    if (!wait_for(POLLIN, deadline)) lost("does not answer");
    const ssize_t count = recv(socket_, text.data() + got, bytes - got, 0);
    if (count > 0)
      got += static_cast<size_t>(count);
    else if (count == 0 || (errno != EAGAIN && errno != EINTR))
      lost("has closed the connection");
  }
  return text;
}

// An answer that is late would be taken for that of the next question, so the connection is over after an error.
MessageReader StoreClient::ask(const MessageWriter& message, milliseconds patience) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (socket_ < 0) lost("has closed the connection");
  const auto deadline = Clock::now() + patience;
  try {
    send_all(message.framed(), deadline);
    uint32_t length = 0;
    std::memcpy(&length, receive(sizeof length, deadline).data(), sizeof length);
    if (length > kLongestMessage) lost("sent nonsense");
    MessageReader reader(receive(length, deadline));
    return reader;
  } catch (const Error&) {
    shutdown(socket_, SHUT_RDWR);
    throw;
  }
}

namespace {

MessageReader accepted(MessageReader reader) {
  if (static_cast<StoreStatus>(reader.number()) != StoreStatus::Good) fail(ErrorCode::Comm, "%s", reader.text().c_str());
  return reader;
}

}  // namespace

void StoreClient::join(int rank, int size) {
  accepted(ask(request(StoreOp::Join).number(rank).number(size).number(getpid()).text(host_name())));
}

void StoreClient::set(const std::string& key, const std::string& value) {
  accepted(ask(request(StoreOp::Set).text(key).text(value)));
}

std::string StoreClient::set_first(const std::string& key, const std::string& value) {
  return accepted(ask(request(StoreOp::SetFirst).text(key).text(value))).text();
}

std::optional<std::string> StoreClient::get(const std::string& key, milliseconds patience) {
  MessageReader reader = ask(request(StoreOp::Get).text(key).number(patience.count()), patience + patience_);
  if (static_cast<StoreStatus>(reader.number()) == StoreStatus::TimedOut) return std::nullopt;
  return reader.text();
}

int64_t StoreClient::add(const std::string& key, int64_t amount) {
  return accepted(ask(request(StoreOp::Add).text(key).number(amount))).number();
}

void StoreClient::beat(int64_t entered) { accepted(ask(request(StoreOp::Beat).number(entered))); }

std::vector<StoreMember> StoreClient::members() {
  MessageReader reader = accepted(ask(request(StoreOp::Members)));
  std::vector<StoreMember> members;
  while (!reader.ended()) {
    StoreMember m;
    m.here = reader.number() != 0;
    m.left = reader.number() != 0;
    m.gone = reader.number() != 0;
    m.silent_seconds = static_cast<double>(reader.number()) / 1000;
    m.entered = reader.number();
    m.pid = reader.number();
    m.host = reader.text();
    members.push_back(std::move(m));
  }
  return members;
}

void StoreClient::leave() { accepted(ask(request(StoreOp::Leave), milliseconds(2000))); }

std::string StoreClient::local_address() const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  char host[NI_MAXHOST] = "";
  if (getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof host, nullptr, 0, NI_NUMERICHOST) != 0)
    fail(ErrorCode::Comm, "the address of this process in the network to %s is unknown", address_.host.c_str());
  return host;
}

}  // namespace star
