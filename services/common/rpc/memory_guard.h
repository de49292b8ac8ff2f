// Ends the connections that make a server's process large. gRPC bounds messages and streams, but not what a connection
// costs that opens and resets streams, or never reads the answers: 5 MB on the wire took 1 GiB (HTTP/2 rapid reset,
// CVE-2023-44487; gRPC has a defence of its own only since 1.58).
//
// A thread compares the memory of the process with a bound 200 times a second. Above it, the connections that received
// most during the last second, or that leave most unread, are ended. If the process still grows, new connections are
// ended too until it is smaller, because whoever was cut off comes back at once. Owned by the server.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "services/common/base/ticker.h"
#include "services/common/rpc/server_sockets.h"

namespace regroup {

class MemoryGuard {
 public:
  /// Guards the server at this TCP port. The process may have `most_bytes`, or, if that is 0, 30 % of what its control
  /// group or the machine has, and at most 2 GiB.
  MemoryGuard(int port, size_t most_bytes);

 private:
  /// Bytes that a connection had received at an earlier time.
  struct Earlier {
    std::chrono::steady_clock::time_point first_seen;
    std::chrono::steady_clock::time_point time;
    uint64_t received = 0;
  };

  void Look();
  std::map<uint64_t, uint64_t> CostsOf(const std::vector<ServerSocket>& connections);

  const ServerSockets sockets_;
  const size_t given_bytes_;
  size_t most_bytes_ = 0;
  int64_t looks_ = 0;
  std::map<uint64_t, Earlier> earlier_;
  bool was_above_ = false;
  /// Declared last: its thread uses the others.
  std::optional<Ticker> ticker_;
};

}  // namespace regroup
