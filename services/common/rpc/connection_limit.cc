#include "services/common/rpc/connection_limit.h"

#include <fmt/format.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
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

/// Returns the number of connections that wait to be accepted.
size_t WaitingConnections(int listener) {
  tcp_info info{};
  socklen_t length = sizeof info;
  return getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 ? info.tcpi_unacked : 0;
}

/// Returns the address of the other side if this side has not sent anything that arrived there; empty otherwise. An
/// encrypted connection begins with the client's words, so that an unfinished handshake is recognised by silence.
std::string HalfOpenFrom(const ServerSocket& connection) {
  return TrafficOf(connection).confirmed > 0 ? "" : PeerOf(connection);
}

}  // namespace

ConnectionLimit::ConnectionLimit(int port, ConnectionLimits limits)
    : port_(port),
      limits_(std::move(limits)),
      most_(std::min(limits_.most, OpenFileLimit() / 4 * 3)),
      sockets_(port),
      listeners_(sockets_.Listeners()),
      ticker_(kInterval, [this] { Enforce(); }) {}

void ConnectionLimit::Enforce() {
  WatchListeners();
  // Usually fewer descriptors of any kind are open.
  if (sockets_.CountDescriptors() <= std::min(most_ / 2, limits_.most_half_open)) return;
  const std::vector<Connection> connections = Connections();
  const bool is_above = connections.size() > most_;
  if (is_above && !was_above_) LogWarning("too many connections; closing the youngest", {{"limit", most_}});
  was_above_ = is_above;
  for (size_t young = most_; young < connections.size(); ++young) sockets_.End(connections[young].socket);
  EndHalfOpen(connections);
}

void ConnectionLimit::EndHalfOpen(const std::vector<Connection>& connections) const {
  std::map<std::string, std::vector<const Connection*>> half_open;
  std::vector<const Connection*> all;
  for (const Connection& connection : connections) {
    if (connection.half_open_from.empty()) continue;
    half_open[connection.half_open_from].push_back(&connection);
    all.push_back(&connection);
  }
  const auto end_oldest = [this](const std::vector<const Connection*>& oldest_first, size_t most) {
    for (size_t old = 0; old + most < oldest_first.size(); ++old) sockets_.End(oldest_first[old]->socket);
  };
  for (const auto& [address, oldest_first] : half_open) end_oldest(oldest_first, limits_.most_half_open);
  end_oldest(all, limits_.most_half_open_of_all);
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

std::vector<ConnectionLimit::Connection> ConnectionLimit::Connections() {
  ++looks_;
  std::vector<Connection> connections;
  std::map<uint64_t, uint64_t> first_looks;
  for (const ServerSocket& socket : sockets_.Connections()) {
    const auto known = first_looks_.find(socket.cookie);
    first_looks[socket.cookie] = known == first_looks_.end() ? looks_ : known->second;
    connections.push_back({first_looks[socket.cookie], socket, HalfOpenFrom(socket)});
  }
  first_looks_ = std::move(first_looks);
  std::sort(connections.begin(), connections.end(),
            [](const Connection& a, const Connection& b) { return a.first_look < b.first_look; });
  return connections;
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
