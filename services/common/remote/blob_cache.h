// Files that were read from addresses, kept in the working folder and shared by its jobs. Each is stored once, under a
// name made of its content's digest, or of its address and version if no digest is known.
//
// A job gets hard links, or copies where the file system has none, so that a file may leave the cache while jobs use
// it. Workers on several machines share the cache; locks of the file system keep them apart. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>

#include "absl/status/status.h"
#include "services/common/remote/download.h"

namespace regroup {

struct CacheLimits {
  /// Most bytes of all files.
  uint64_t bytes = uint64_t{200} << 30;
  std::chrono::hours age{24 * 30};
};

class BlobCache {
 public:
  /// `scope` keeps files whose version is unknown apart: they are shared only by calls with the same scope, which
  /// should be that of one attempt.
  BlobCache(std::filesystem::path folder, std::string scope) : folder_(std::move(folder)), scope_(std::move(scope)) {}

  /// Makes `target` the file, from the cache or by Download. Waits for another job that reads the same file.
  absl::Status Provide(const Address& address, const RemoteFile& file, const RemoteSettings& settings,
                       HttpClient& client, const CountBytes& count, const std::filesystem::path& target) const;

  /// Removes the files and parts that were not used for longest, until the limits hold.
  void Evict(const CacheLimits& limits) const;

 private:
  std::filesystem::path BlobOf(const Address& address, const RemoteFile& file) const;

  const std::filesystem::path folder_;
  const std::string scope_;
};

}  // namespace regroup
