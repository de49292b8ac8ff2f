// Limits the connections of a server. gRPC accepts every connection, and stops listening for good once the process has
// no file descriptor left.
//
// A thread scans the process's own sockets several times a second and closes the youngest above the limit, so that the
// oldest connections stay. Owned by the server.
#pragma once

#include <dirent.h>

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace regroup {

class ConnectionLimit {
 public:
  /// Limits the connections to this TCP port of this process to `most`, but at most three quarters of the files that
  /// the process may open.
  ConnectionLimit(int port, size_t most);
  ~ConnectionLimit();
  ConnectionLimit(const ConnectionLimit&) = delete;
  ConnectionLimit& operator=(const ConnectionLimit&) = delete;

 private:
  struct Connection {
    uint64_t first_look = 0;
    /// Number that no other socket of the machine ever has.
    uint64_t cookie = 0;
    int descriptor = -1;
  };

  void Run();
  void Enforce();
  std::vector<int> OpenDescriptors() const;
  /// Returns the connections in the order in which they were first seen.
  std::vector<Connection> Connections(const std::vector<int>& descriptors);
  void End(const Connection& connection) const;

  const int port_;
  const size_t most_;
  // Opened in advance, because no descriptor may be left when they are needed.
  DIR* const descriptors_;
  const int nothing_;
  const int held_;
  uint64_t looks_ = 0;
  /// Number of the scan in which each connection was first seen, by its cookie.
  std::map<uint64_t, uint64_t> first_looks_;
  bool was_above_ = false;

  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;
  std::thread thread_;
};

/// Raises the process's limit of open files to the system's maximum; it often starts at 1,024. Returns the new limit.
size_t RaiseOpenFileLimit();

}  // namespace regroup
