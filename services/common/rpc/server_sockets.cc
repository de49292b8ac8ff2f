#include "services/common/rpc/server_sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <string_view>

namespace regroup {
namespace {

int PortOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return 0;
}

bool IsAt(int port, int descriptor) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  return getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length) == 0 && PortOf(address) == port;
}

bool IsConnection(int descriptor) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  // The listening socket has no peer.
  return getpeername(descriptor, reinterpret_cast<sockaddr*>(&address), &length) == 0;
}

bool Listens(int descriptor) {
  int listens = 0;
  socklen_t length = sizeof listens;
  return getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens != 0;
}

/// Returns the socket's cookie; 0 if the descriptor is not a socket.
uint64_t CookieOf(int descriptor) {
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  return getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

}  // namespace

ServerSockets::ServerSockets(int port)
    : port_(port),
      descriptors_(opendir("/proc/self/fd")),
      nothing_(open("/dev/null", O_RDONLY | O_CLOEXEC)),
      held_(fcntl(nothing_, F_DUPFD_CLOEXEC, 0)) {}

ServerSockets::~ServerSockets() {
  close(held_);
  close(nothing_);
  if (descriptors_ != nullptr) closedir(descriptors_);
}

std::vector<int> ServerSockets::OpenDescriptors() const {
  std::vector<int> open;
  if (descriptors_ == nullptr) return open;
  rewinddir(descriptors_);
  while (const dirent* entry = readdir(descriptors_)) {
    const std::string_view name = entry->d_name;
    int descriptor = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), descriptor);
    if (error == std::errc()) open.push_back(descriptor);
  }
  return open;
}

std::vector<ServerSocket> ServerSockets::Connections() const {
  std::vector<ServerSocket> connections;
  for (const int descriptor : OpenDescriptors()) {
    if (IsAt(port_, descriptor) && IsConnection(descriptor)) connections.push_back({CookieOf(descriptor), descriptor});
  }
  return connections;
}

std::vector<int> ServerSockets::Listeners() const {
  std::vector<int> listeners;
  for (const int descriptor : OpenDescriptors()) {
    if (Listens(descriptor) && IsAt(port_, descriptor)) listeners.push_back(descriptor);
  }
  return listeners;
}

void ServerSockets::LimitUnread(int bytes) const {
  // Accepted connections have the setting of their listener.
  for (const int listener : Listeners()) setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

/// Disconnects a copy of the descriptor after checking it again: gRPC owns the original and may have closed it
/// meanwhile, so that its number belongs to another file. Unlike shutdown(), this also drops what has arrived and was
/// not read.
void ServerSockets::End(const ServerSocket& connection) const {
  if (dup3(connection.descriptor, held_, O_CLOEXEC) < 0) return;
  const sockaddr nobody{.sa_family = AF_UNSPEC, .sa_data = {}};
  if (CookieOf(held_) == connection.cookie && connect(held_, &nobody, sizeof nobody) != 0) shutdown(held_, SHUT_RDWR);
  dup3(nothing_, held_, O_CLOEXEC);
}

std::string PeerOf(const ServerSocket& connection) {
  sockaddr_storage peer{};
  socklen_t length = sizeof peer;
  if (getpeername(connection.descriptor, reinterpret_cast<sockaddr*>(&peer), &length) != 0) return "";
  char text[INET6_ADDRSTRLEN] = "";
  const void* address = peer.ss_family == AF_INET
                            ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in&>(peer).sin_addr)
                            : static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr);
  return inet_ntop(peer.ss_family, address, text, sizeof text) != nullptr ? text : "";
}

Traffic TrafficOf(const ServerSocket& connection) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (getsockopt(connection.descriptor, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return {};
  return {.received = info.tcpi_bytes_received, .confirmed = info.tcpi_bytes_acked, .unsent = info.tcpi_notsent_bytes};
}

}  // namespace regroup
