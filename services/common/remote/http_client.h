// An HTTP client on libcurl that is safe to point at addresses that users choose.
//
// It verifies certificates, refuses hosts whose address is private unless they are allowed, follows redirects itself
// (to https only, without the caller's credentials once the host changes), and ends a transfer that stalls. One object
// for each thread: a connection is reused from call to call. A proxy of the environment (HTTPS_PROXY) is used; it then
// decides which hosts may be reached.
//
// Errors: UNAVAILABLE for a connection that cannot be made, breaks or stalls; PERMISSION_DENIED for a host that is not
// allowed; FAILED_PRECONDITION for a certificate that is not trusted; RESOURCE_EXHAUSTED for an answer that is too
// long; otherwise those of the sink. Messages hold the URL without its query, which may be a secret. An answer
// with any HTTP status is OK; StatusOf tells what it means.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

/// A part of a file that a request sends.
struct FilePart {
  /// Open for reading; the position is not used.
  int descriptor = -1;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  /// Names in lower case, so that those of credentials are found.
  std::map<std::string, std::string> headers;
  std::string body;
  /// Sent instead of the body.
  std::optional<FilePart> file = std::nullopt;
  /// Seconds without a byte after which the transfer has failed; 0 for those of the rules.
  int stall_timeout_s = 0;
  /// The bucket and the region of a request to S3; empty for others. A redirect that names another region is not
  /// followed but returned.
  std::string bucket = {};
  std::string region = {};
};

struct HttpResponse {
  int status = 0;
  /// Names in lower case; of several with one name, the last.
  std::map<std::string, std::string> headers;
  /// Empty if a sink received it.
  std::string body;
  /// The URL that answered, after redirects.
  std::string url;
};

struct HttpRules {
  /// Origins (see OriginOf) that may have a private address and may be reached by http: those that the operator
  /// configured.
  std::vector<std::string> trusted_origins;
  /// True if any host may have a private address.
  bool allows_private_addresses = false;
  int connect_timeout_s = 15;
  /// A transfer that moves nothing for so long has failed.
  int stall_timeout_s = 30;
  /// Longest body that is kept for the caller.
  size_t longest_body = size_t{16} << 20;
};

class HttpClient {
 public:
  /// Receives the pieces of a body, with the status and the headers of the answer; an error ends the transfer.
  using Sink = std::function<absl::Status(const HttpResponse& head, std::string_view piece)>;
  /// Called often during a transfer with the bytes that it has sent or received; false ends it with CANCELLED.
  using Progress = std::function<bool(uint64_t bytes)>;

  explicit HttpClient(HttpRules rules);
  ~HttpClient();

  /// Sends the request. If `sink` is given, it receives the body of an answer with status 200 or 206.
  absl::StatusOr<HttpResponse> Send(const HttpRequest& request, const Sink& sink = nullptr,
                                    const Progress& progress = nullptr);

 private:
  class Transfer;
  struct FreeHandle {
    void operator()(void* handle) const;
  };

  const HttpRules rules_;
  std::unique_ptr<void, FreeHandle> handle_;
};

/// Returns OK for a status of 200 to 299. `what` begins the message. Of the body, which may repeat a credential, the
/// message shows the elements Code and Message of an error of S3, and nothing else. UNAVAILABLE for what may pass (408,
/// 429, 5xx), PERMISSION_DENIED (401, 403), NOT_FOUND (404, 410), ABORTED for a condition that is not met, such as that
/// the file has not changed (412, 416), UNIMPLEMENTED for what the server says it has not, otherwise INVALID_ARGUMENT.
absl::Status StatusOf(const HttpResponse& response, std::string_view what);

/// Returns the text of an element of an error that S3 sends, to be shown; empty if there is none.
std::string ErrorElement(const HttpResponse& response, std::string_view name);

/// Returns the seconds of the header Retry-After, at most an hour; nothing if there is none.
std::optional<int> RetryAfterSeconds(const HttpResponse& response);

/// Returns the URL without its query.
std::string WithoutQuery(std::string_view url);

/// Returns scheme, host and port of a URL in lower case: what credentials and trust are meant for.
std::string OriginOf(const std::string& url);

/// Returns the host of a URL in lower case, without its port; empty if it has none.
std::string HostOf(const std::string& url);

/// Percent-encodes all but unreserved characters (RFC 3986) and, if asked to, slashes.
std::string PercentEncoded(std::string_view text, bool keeps_slashes);

}  // namespace regroup
