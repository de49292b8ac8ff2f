// Limits the connections of a server. gRPC accepts every connection, and stops listening for good once the process has
// no file descriptor left.
//
// A thread scans the process's own sockets several times a second and closes the youngest above the limit, so that the
// oldest connections stay. Of the connections of one address on which the server has not said anything yet, such as
// half TLS handshakes, it closes the oldest above a limit of their own, so that others of that address get in. It also
// notices when the server has stopped accepting connections. Owned by the server.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "services/common/base/ticker.h"
#include "services/common/rpc/server_sockets.h"

namespace regroup {

struct ConnectionLimits {
  /// Most connections to the port, but at most three quarters of the files that the process may open.
  size_t most = 4096;
  /// Most connections of one address on which the server has sent nothing yet.
  size_t most_half_open = 256;
  /// Most such connections of all addresses together: each takes about 110 KB.
  size_t most_half_open_of_all = 1024;
  /// Called once, from a thread of its own, when connections have waited ten seconds and none was accepted.
  std::function<void(const std::string& why)> stopped_accepting;
};

class ConnectionLimit {
 public:
  /// Limits the connections to this TCP port, on which this process listens already.
  ConnectionLimit(int port, ConnectionLimits limits);

 private:
  struct Connection {
    uint64_t first_look = 0;
    ServerSocket socket;
    /// The address of the other side; empty once the server has sent anything.
    std::string half_open_from;
  };

  void Enforce();
  void EndHalfOpen(const std::vector<Connection>& connections) const;
  void WatchListeners();
  /// Returns the connections in the order in which they were first seen.
  std::vector<Connection> Connections();

  const int port_;
  const ConnectionLimits limits_;
  const size_t most_;
  const ServerSockets sockets_;
  uint64_t looks_ = 0;
  /// Number of the scan in which each connection was first seen, by its cookie.
  std::map<uint64_t, uint64_t> first_looks_;
  bool was_above_ = false;
  /// The descriptors on which the server listens, and the number of looks since which connections have been waiting
  /// there.
  const std::vector<int> listeners_;
  int waiting_looks_ = 0;
  /// Declared last: its thread uses the others.
  Ticker ticker_;
};

/// Raises the process's limit of open files to the system's maximum; it often starts at 1,024. Returns the new limit.
size_t RaiseOpenFileLimit();

/// Logs a warning if the process may open too few files for the default number of connections.
void WarnOfFewOpenFiles();

}  // namespace regroup
