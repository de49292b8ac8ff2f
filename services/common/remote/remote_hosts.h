// The three kinds of hosts behind ListRemoteFiles. Names in the listings are relative to the repository or the bucket,
// or on the web to the host, or to the folder of a checkpoint.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "services/common/remote/patience.h"
#include "services/common/remote/remote_files.h"

namespace regroup {

/// How to list.
struct ListingCall {
  const RemoteSettings& settings;
  HttpClient& client;
  /// Returns true for the names that the address means; others are left out while pages are read.
  std::function<bool(const std::string& name)> keeps;
  const Tick& tick;
};

absl::StatusOr<RemoteListing> ListHub(const Address& address, const ListingCall& call);
absl::StatusOr<RemoteListing> ListBucket(const Address& address, const ListingCall& call);
absl::StatusOr<RemoteListing> ListWeb(const Address& address, Wanted wanted, const ListingCall& call);

/// Returns all objects whose keys begin with the prefix.
absl::StatusOr<std::vector<RemoteFile>> ListObjects(const Address& address, const std::string& prefix,
                                                    const ListingCall& call);

HttpRequest MakeHubRead(const RemoteFile& file, const RemoteSettings& settings);
HttpRequest MakeBucketRead(const Address& address, const RemoteFile& file, uint64_t offset,
                           const RemoteSettings& settings);

/// Returns true for a name that can be that of a file below a folder: it does not leave it, and a shell or a log does
/// not misread it.
bool IsFileName(const std::string& name);

/// Returns INVALID_ARGUMENT for more than kMostFiles.
absl::Status CheckCount(size_t files, const Address& address);

/// Makes and sends a request that may be repeated, and again after a pause if it failed for a reason that may pass, or
/// at once with renewed credentials. `what` begins the messages.
absl::StatusOr<HttpResponse> SendPatiently(const std::function<HttpRequest()>& make, std::string_view what,
                                           const RemoteSettings& settings, HttpClient& client, const Tick& tick);
absl::StatusOr<HttpResponse> SendPatiently(const std::function<HttpRequest()>& make, std::string_view what,
                                           const ListingCall& call);

}  // namespace regroup
