// Requests to Amazon S3 and to servers that speak its protocol: URLs, and signatures of version 4 (SigV4, "Signature
// Version 4" in Amazon's reference of its IAM service). Any thread.
#pragma once

#include <ctime>
#include <map>
#include <string>

#include "services/common/remote/http_client.h"
#include "services/common/remote/remote_settings.h"

namespace regroup {

struct S3Call {
  std::string method = "GET";
  std::string bucket;
  /// Empty for a call about the bucket.
  std::string key;
  std::map<std::string, std::string> query;
  /// Names in lower case.
  std::map<std::string, std::string> headers;
  std::string body;
  std::optional<FilePart> file = std::nullopt;
  /// SHA-256 of the part of a file, which the server checks.
  std::string file_sha256;
};

/// Returns the request, signed at `now` if there are credentials. The bucket is part of the path at a configured
/// endpoint, as such servers expect, and part of the host's name at Amazon, except for a name with dots, for which no
/// certificate would fit.
HttpRequest MakeS3Request(const S3Call& call, const RemoteSettings& settings, std::time_t now);

}  // namespace regroup
