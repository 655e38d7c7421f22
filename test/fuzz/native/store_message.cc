// Messages of the TCP store from anywhere, in any pieces: the server answers or drops, and goes on.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "comm/store_client.h"
#include "comm/store_server.h"
#include "comm/wire.h"

namespace {

int connect_to(int port) {
  const int end = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(end, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) std::abort();  // the server has ended
  const linger reset{1, 0};  // no connections that wait in the system for a minute
  ::setsockopt(end, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  return end;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static star::StoreServer server(20000 + ::getpid() % 10000, 1000, 3, "fuzz");
  static const std::string hello =
      star::MessageWriter().number(static_cast<int64_t>(star::StoreOp::Hello)).text(star::kStoreMagic).text("fuzz").framed();
  const int end = connect_to(server.port());
  // The first bit decides whether a stranger speaks or a member.
  std::string bytes = size > 0 && (data[0] & 1) ? hello : "";
  if (size > 1) bytes.append(reinterpret_cast<const char*>(data) + 1, size - 1);
  size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t count = ::send(end, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) break;
    sent += static_cast<size_t>(count);
  }
  ::shutdown(end, SHUT_WR);
  char answer[4096];
  while (::recv(end, answer, sizeof answer, 0) > 0) {
  }
  ::close(end);
  return 0;
}
