// Credentials for hubs and buckets, which may be renewed while a task runs: a file that the environment names is read
// again when a server refuses what it held. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "services/common/remote/http_client.h"

namespace regroup {

struct AwsCredentials {
  std::string key_id;
  std::string secret;
  /// Empty for a key that is not temporary.
  std::string session_token;

  bool operator==(const AwsCredentials&) const = default;
};

struct Credentials {
  /// Sent to the hub's endpoint alone; empty for none.
  std::string hub_token;
  /// Without a value, requests are not signed, as for public buckets.
  std::optional<AwsCredentials> aws;

  bool operator==(const Credentials&) const = default;
};

/// Reads the environment and the files that it names. INVALID_ARGUMENT and FAILED_PRECONDITION name the variable or the
/// file, never its content.
absl::StatusOr<Credentials> ReadCredentials();

class RemoteCredentials {
 public:
  RemoteCredentials() = default;
  explicit RemoteCredentials(Credentials credentials) : credentials_(std::move(credentials)) {}

  Credentials Get() const;
  /// Counts the renewals. Ask before a request is made, and pass the answer to RenewAfter.
  uint64_t version() const;

  /// Returns true if the server refused credentials of this version and there are others by now, so that the request
  /// should be made anew. Reads the files again unless another thread has renewed the credentials meanwhile.
  bool RenewAfter(const HttpResponse& response, uint64_t version);

 private:
  mutable std::mutex mutex_;
  Credentials credentials_;
  uint64_t version_ = 0;
};

}  // namespace regroup
