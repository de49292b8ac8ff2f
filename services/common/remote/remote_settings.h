// Settings of a worker's operator for addresses: allowed prefixes, endpoints and credentials.
//
// A worker passes them to the trainers of its tasks `fetch` and `upload`, and to no others, by their environment. Names
// are those of the AWS and Hugging Face tools where these have some.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/common/job_file/address.h"
#include "services/common/remote/bucket_regions.h"
#include "services/common/remote/http_client.h"
#include "services/common/remote/remote_credentials.h"

namespace regroup {

/// The variable by which a worker passes on --allow-remote, --allow-private-addresses and --fetch-cache-gib, as JSON.
inline constexpr char kRemoteRulesVariable[] = "REGROUP_REMOTE_RULES";

/// Limits that an operator sets.
struct RemoteRules {
  /// Prefixes of addresses; empty allows none.
  std::vector<std::string> allowed;
  bool allows_private_addresses = false;
  /// Most bytes of files that are kept for later jobs.
  uint64_t cache_bytes = uint64_t{200} << 30;
};

std::string FormatRemoteRules(const RemoteRules& rules);

/// The variables that hold credentials and endpoints.
std::vector<std::string> RemoteVariables();

struct RemoteSettings {
  RemoteRules rules;
  /// Without a slash at its end.
  std::string hub_endpoint = "https://huggingface.co";
  /// Empty for Amazon's own.
  std::string s3_endpoint;
  std::string s3_region = "us-east-1";
  /// Shared by the threads of a task.
  std::shared_ptr<RemoteCredentials> credentials = std::make_shared<RemoteCredentials>();
  std::shared_ptr<BucketRegions> regions = std::make_shared<BucketRegions>();

  /// Returns true if the answer asks for other credentials or another region and there are such, so that the request
  /// should be made anew. `version` is that of the credentials before the request was made.
  bool AdaptTo(const HttpRequest& request, const HttpResponse& response, uint64_t version) const {
    return credentials->RenewAfter(response, version) || regions->LearnFrom(request, response);
  }

  /// Returns the rules for a client of addresses of this kind: the origin that the operator configured for it may have
  /// a private address.
  HttpRules HttpRulesOf(AddressKind kind) const;
};

/// Reads the environment (RemoteVariables, REGROUP_REMOTE_RULES) and the files that it names. INVALID_ARGUMENT names
/// the variable or the file, never its content.
absl::StatusOr<RemoteSettings> ReadRemoteSettings();

}  // namespace regroup
