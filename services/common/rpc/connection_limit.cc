#include "services/common/rpc/connection_limit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <string_view>
#include <utility>

#include "services/common/base/logging.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kInterval(100);
/// Looks in ten seconds.
constexpr int kPatientLooks = 100;
/// Files for the default number of connections, and as many again for the store, logs and workers.
constexpr size_t kWantedFiles = 8192;

size_t OpenFileLimit() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<size_t>(limit.rlim_cur) : 1024;
}

int PortOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return 0;
}

bool IsConnectionTo(int port, int descriptor) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length) != 0) return false;
  if (PortOf(address) != port) return false;
  length = sizeof address;
  // The listening socket has no peer.
  return getpeername(descriptor, reinterpret_cast<sockaddr*>(&address), &length) == 0;
}

bool ListensOn(int port, int descriptor) {
  int listens = 0;
  socklen_t length = sizeof listens;
  if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0 || listens == 0) return false;
  sockaddr_storage address{};
  length = sizeof address;
  return getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length) == 0 && PortOf(address) == port;
}

/// Returns the number of connections that wait to be accepted.
size_t WaitingConnections(int listener) {
  tcp_info info{};
  socklen_t length = sizeof info;
  return getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 ? info.tcpi_unacked : 0;
}

/// Returns the address of the other side if this side has not sent anything that arrived there; empty otherwise. An
/// encrypted connection begins with the client's words, so that an unfinished handshake is recognised by silence.
std::string HalfOpenFrom(int descriptor) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 || info.tcpi_bytes_acked > 0) return "";
  sockaddr_storage peer{};
  length = sizeof peer;
  if (getpeername(descriptor, reinterpret_cast<sockaddr*>(&peer), &length) != 0) return "";
  char text[INET6_ADDRSTRLEN] = "";
  const void* address = peer.ss_family == AF_INET
                            ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in&>(peer).sin_addr)
                            : static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr);
  return inet_ntop(peer.ss_family, address, text, sizeof text) != nullptr ? text : "";
}

/// Returns the socket's cookie; 0 if the descriptor is not a socket.
uint64_t CookieOf(int descriptor) {
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  return getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

}  // namespace

ConnectionLimit::ConnectionLimit(int port, ConnectionLimits limits)
    : port_(port),
      limits_(std::move(limits)),
      most_(std::min(limits_.most, OpenFileLimit() / 4 * 3)),
      descriptors_(opendir("/proc/self/fd")),
      nothing_(open("/dev/null", O_RDONLY | O_CLOEXEC)),
      held_(fcntl(nothing_, F_DUPFD_CLOEXEC, 0)) {
  for (const int descriptor : OpenDescriptors()) {
    if (ListensOn(port_, descriptor)) listeners_.push_back(descriptor);
  }
  thread_ = std::thread(&ConnectionLimit::Run, this);
}

ConnectionLimit::~ConnectionLimit() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_all();
  thread_.join();
  close(held_);
  close(nothing_);
  if (descriptors_ != nullptr) closedir(descriptors_);
}

void ConnectionLimit::Run() {
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, kInterval, [this] { return stopping_; })) Enforce();
}

void ConnectionLimit::Enforce() {
  WatchListeners();
  const std::vector<int> descriptors = OpenDescriptors();
  // Usually fewer descriptors of any kind are open.
  if (descriptors.size() <= std::min(most_ / 2, limits_.most_half_open)) return;
  const std::vector<Connection> connections = Connections(descriptors);
  const bool is_above = connections.size() > most_;
  if (is_above && !was_above_) LogWarning("too many connections; closing the youngest", {{"limit", most_}});
  was_above_ = is_above;
  for (size_t young = most_; young < connections.size(); ++young) End(connections[young]);
  EndHalfOpen(connections);
}

void ConnectionLimit::EndHalfOpen(const std::vector<Connection>& connections) const {
  std::map<std::string, std::vector<const Connection*>> half_open;
  for (const Connection& connection : connections) {
    if (!connection.half_open_from.empty()) half_open[connection.half_open_from].push_back(&connection);
  }
  for (const auto& [address, oldest_first] : half_open) {
    for (size_t old = 0; old + limits_.most_half_open < oldest_first.size(); ++old) End(*oldest_first[old]);
  }
}

/// gRPC stops accepting for good when the process runs out of open files, and says so to nobody.
void ConnectionLimit::WatchListeners() {
  const bool is_waiting =
      std::any_of(listeners_.begin(), listeners_.end(), [](int l) { return WaitingConnections(l) > 0; });
  waiting_looks_ = is_waiting ? waiting_looks_ + 1 : 0;
  if (waiting_looks_ != kPatientLooks) return;
  const std::string why = fmt::format(
      "port {} accepts no connections any more; the process may have run out of open files: it may open {}, and {} are "
      "recommended (ulimit -n, LimitNOFILE)",
      port_, OpenFileLimit(), kWantedFiles);
  LogError(why);
  if (limits_.stopped_accepting) limits_.stopped_accepting(why);
}

std::vector<int> ConnectionLimit::OpenDescriptors() const {
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

std::vector<ConnectionLimit::Connection> ConnectionLimit::Connections(const std::vector<int>& descriptors) {
  ++looks_;
  std::vector<Connection> connections;
  std::map<uint64_t, uint64_t> first_looks;
  for (const int descriptor : descriptors) {
    if (!IsConnectionTo(port_, descriptor)) continue;
    const uint64_t cookie = CookieOf(descriptor);
    const auto known = first_looks_.find(cookie);
    first_looks[cookie] = known == first_looks_.end() ? looks_ : known->second;
    connections.push_back({first_looks[cookie], cookie, descriptor, HalfOpenFrom(descriptor)});
  }
  first_looks_ = std::move(first_looks);
  std::sort(connections.begin(), connections.end(),
            [](const Connection& a, const Connection& b) { return a.first_look < b.first_look; });
  return connections;
}

/// Shuts down a copy of the descriptor after checking it again: gRPC owns the original and may have closed it
/// meanwhile, so that its number belongs to another file.
void ConnectionLimit::End(const Connection& connection) const {
  if (dup3(connection.descriptor, held_, O_CLOEXEC) < 0) return;
  if (CookieOf(held_) == connection.cookie) shutdown(held_, SHUT_RDWR);
  dup3(nothing_, held_, O_CLOEXEC);
}

size_t RaiseOpenFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return OpenFileLimit();
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return OpenFileLimit();
}

void WarnOfFewOpenFiles() {
  if (OpenFileLimit() >= kWantedFiles) return;
  LogWarning("the process may open few files, and so accepts few connections; raise the limit (ulimit -n, LimitNOFILE)",
             {{"files", OpenFileLimit()}, {"recommended", kWantedFiles}, {"connections", OpenFileLimit() / 4 * 3}});
}

}  // namespace regroup
