// The connections to a server of this process, seen from the operating system: gRPC neither lists nor ends them.
//
// Not thread-safe: each user has its own.
#pragma once

#include <dirent.h>

#include <cstdint>
#include <string>
#include <vector>

namespace regroup {

struct ServerSocket {
  /// Number that no other socket of the machine ever has.
  uint64_t cookie = 0;
  int descriptor = -1;
};

class ServerSockets {
 public:
  /// Looks at connections to this TCP port. Opens what it needs at once, because no descriptor may be left later.
  explicit ServerSockets(int port);
  ~ServerSockets();
  ServerSockets(const ServerSockets&) = delete;
  ServerSockets& operator=(const ServerSockets&) = delete;

  /// Returns the number of descriptors that the process has open, of any kind.
  size_t CountDescriptors() const { return OpenDescriptors().size(); }
  std::vector<ServerSocket> Connections() const;
  /// Returns the descriptors on which the process listens at the port.
  std::vector<int> Listeners() const;
  /// Lets the system keep at most about so many bytes of a connection that were not read; for connections to come.
  void LimitUnread(int bytes) const;
  /// Ends a connection, unless its descriptor belongs to something else by now.
  void End(const ServerSocket& connection) const;

 private:
  std::vector<int> OpenDescriptors() const;

  const int port_;
  DIR* const descriptors_;
  const int nothing_;
  const int held_;
};

/// Returns the address of the other side; empty if it is gone.
std::string PeerOf(const ServerSocket& connection);

/// Bytes that went over a connection.
struct Traffic {
  uint64_t received = 0;
  /// Bytes that the other side has confirmed.
  uint64_t confirmed = 0;
  /// Bytes that wait in the system until the other side reads.
  uint64_t unsent = 0;
};

Traffic TrafficOf(const ServerSocket& connection);

}  // namespace regroup
