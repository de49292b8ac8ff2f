// The three kinds of hosts behind ListRemoteFiles. Names in the listings are relative to the repository, the bucket's
// listed prefix, or the folder on the web.
#pragma once

#include "absl/status/statusor.h"
#include "services/common/remote/remote_files.h"

namespace regroup {

absl::StatusOr<RemoteListing> ListHub(const Address& address, const RemoteSettings& settings, HttpClient& client);
absl::StatusOr<RemoteListing> ListBucket(const Address& address, const RemoteSettings& settings, HttpClient& client);
absl::StatusOr<RemoteListing> ListWeb(const Address& address, Wanted wanted, HttpClient& client);

HttpRequest MakeHubRead(const RemoteFile& file, const RemoteSettings& settings);
HttpRequest MakeBucketRead(const Address& address, const RemoteFile& file, uint64_t offset,
                           const RemoteSettings& settings);

/// Sends a request that may be repeated, and again after a pause if it failed for a reason that may pass. `what` begins
/// the messages.
absl::StatusOr<HttpResponse> SendPatiently(const HttpRequest& request, std::string_view what, HttpClient& client);

}  // namespace regroup
