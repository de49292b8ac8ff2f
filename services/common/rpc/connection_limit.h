// Keeps the connections of a server below a number. gRPC takes every one that comes, and stops listening for good once
// the process has no file descriptor left for another.
//
// A thread looks at the process's own sockets several times a second and ends the youngest above the limit, so that
// whoever was there first stays. Owned by the server.
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
  /// For connections to this TCP port of this process. No more than three quarters of the files that the process may
  /// open are allowed, whatever `most` says.
  ConnectionLimit(int port, size_t most);
  ~ConnectionLimit();
  ConnectionLimit(const ConnectionLimit&) = delete;
  ConnectionLimit& operator=(const ConnectionLimit&) = delete;

 private:
  struct Connection {
    uint64_t first_look = 0;
    /// A number that no other socket of the machine ever has.
    uint64_t cookie = 0;
    int descriptor = -1;
  };

  void Run();
  void Enforce();
  std::vector<int> OpenDescriptors() const;
  /// In the order in which they were first seen.
  std::vector<Connection> Connections(const std::vector<int>& descriptors);
  void End(const Connection& connection) const;

  const int port_;
  const size_t most_;
  // Opened beforehand, since there may be no descriptor left when they are needed.
  DIR* const descriptors_;
  const int nothing_;
  const int held_;
  uint64_t looks_ = 0;
  /// When each connection was first seen, by its cookie.
  std::map<uint64_t, uint64_t> first_looks_;
  bool was_above_ = false;

  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;
  std::thread thread_;
};

/// Lets the process open as many files as the system allows it to: programs often start with 1,024 of them. Returns how
/// many that is.
size_t RaiseOpenFileLimit();

}  // namespace regroup
