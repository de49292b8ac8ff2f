#include "services/common/rpc/memory_guard.h"

#include <malloc.h>

#include <algorithm>
#include <set>
#include <string>

#include "services/common/base/logging.h"
#include "services/common/base/process_memory.h"

namespace regroup {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kInterval(5);
constexpr std::chrono::milliseconds kWindow(500);
/// Age below which a connection may be that of somebody who was cut off.
constexpr std::chrono::seconds kYoung(2);
/// Bytes below which a connection is never the cause.
constexpr uint64_t kCheap = 16 << 10;
constexpr size_t kMostBound = size_t{2} << 30;
/// Bytes that may lie unread: what has arrived when a connection is ended may still cost.
constexpr int kMostUnread = 128 << 10;
/// Looks after which the bound is determined again: a process may be moved to another control group.
constexpr int kLooksPerBound = 200;

/// Returns a bound for a process that shares its memory with nothing large.
size_t DefaultBound() { return std::min(kMostBound, UsableMemory() / 10 * 3); }

}  // namespace

MemoryGuard::MemoryGuard(int port, size_t most_bytes) : sockets_(port), given_bytes_(most_bytes) {
  sockets_.LimitUnread(kMostUnread);
  ticker_.emplace(kInterval, [this] { Look(); });
}

void MemoryGuard::Look() {
  if (looks_++ % kLooksPerBound == 0) most_bytes_ = given_bytes_ > 0 ? given_bytes_ : DefaultBound();
  const size_t resident = MemoryInUse().resident;
  // From here on it notes what connections receive, so that it knows which cost most when it must end some.
  if (resident < most_bytes_ / 2) {
    earlier_.clear();
    return;
  }
  const std::vector<ServerSocket> connections = sockets_.Connections();
  const std::map<uint64_t, uint64_t> costs = CostsOf(connections);
  const bool is_above = resident > most_bytes_;
  uint64_t highest = 0;
  for (const auto& [cookie, cost] : costs) highest = std::max(highest, cost);
  const uint64_t least = std::max(kCheap, highest / 4);
  const bool is_far_above = resident > most_bytes_ + most_bytes_ / 4;
  const Clock::time_point young = Clock::now() - kYoung;
  std::set<std::string> peers;
  for (const ServerSocket& connection : connections) {
    const bool is_costly = is_above && costs.at(connection.cookie) >= least;
    const bool is_new = is_far_above && earlier_.at(connection.cookie).first_seen > young;
    if (!is_costly && !is_new) continue;
    peers.insert(PeerOf(connection));
    sockets_.End(connection);
  }
  if (is_above && !was_above_ && !peers.empty()) {
    LogWarning("the process needs too much memory; closing the connections that cost most",
               {{"bytes", resident}, {"limit", most_bytes_}, {"addresses", peers.size()}, {"first", *peers.begin()}});
  }
  was_above_ = is_above;
  // Without this the process stays as large as it was, and would seem to need it. It takes long, so not in a hurry.
  if (is_above && peers.empty()) malloc_trim(0);
}

/// Returns, by cookie, the bytes that each connection has received since half a second to a second, and those that it
/// leaves unread.
std::map<uint64_t, uint64_t> MemoryGuard::CostsOf(const std::vector<ServerSocket>& connections) {
  const Clock::time_point now = Clock::now();
  std::map<uint64_t, uint64_t> costs;
  std::map<uint64_t, Earlier> earlier;
  for (const ServerSocket& connection : connections) {
    const Traffic traffic = TrafficOf(connection);
    const auto known = earlier_.find(connection.cookie);
    Earlier from = known == earlier_.end() ? Earlier{now, now, 0} : known->second;
    costs[connection.cookie] = traffic.received - std::min(from.received, traffic.received) + traffic.unsent;
    if (now - from.time > 2 * kWindow) from = {from.first_seen, now - kWindow, traffic.received};
    earlier[connection.cookie] = from;
  }
  earlier_ = std::move(earlier);
  return costs;
}

}  // namespace regroup
