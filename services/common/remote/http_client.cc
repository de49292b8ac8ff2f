#include "services/common/remote/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "services/common/base/printable_text.h"
#include "services/common/base/status_macros.h"
#include "services/common/remote/public_address.h"

namespace regroup {
namespace {

constexpr int kMostRedirects = 5;
constexpr size_t kLongestErrorBody = size_t{64} << 10;
constexpr size_t kLongestHeaders = size_t{64} << 10;
constexpr int kLongestRetryAfterS = 3600;

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, FreeUrl>;

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, FreeList>;

void InitCurl() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

Url ParseUrl(const std::string& text) {
  Url url(curl_url());
  return curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) == CURLUE_OK ? std::move(url) : nullptr;
}

std::string PartOf(const Url& url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (url == nullptr || curl_url_get(url.get(), part, &text, flags) != CURLUE_OK) return "";
  std::string copy = text;
  curl_free(text);
  return copy;
}

absl::StatusOr<std::string> RedirectTarget(const std::string& from, const std::string& location) {
  const Url url = ParseUrl(from);
  if (url == nullptr || curl_url_set(url.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK) {
    return absl::UnavailableError(fmt::format("{} redirects to what is not a URL", WithoutQuery(from)));
  }
  return PartOf(url, CURLUPART_URL);
}

/// Returns true for headers that another host must not get: credentials, and what a signature covers.
bool BelongsToOrigin(const std::string& header) {
  return header == "authorization" || header == "cookie" || header == "host" || header.starts_with("x-amz-");
}

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool NamesOtherRegion(const HttpRequest& request, const HttpResponse& response) {
  const auto region = response.headers.find("x-amz-bucket-region");
  return !request.bucket.empty() && region != response.headers.end() && region->second != request.region;
}

bool UsesProxy() {
  constexpr std::array kVariables = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
  return std::any_of(kVariables.begin(), kVariables.end(), [](const char* name) {
    const char* const value = std::getenv(name);
    return value != nullptr && *value != '\0';
  });
}

absl::Status StatusOfCurl(CURLcode code, std::string_view detail, const std::string& url) {
  const std::string message =
      fmt::format("{}: {}", WithoutQuery(url), detail.empty() ? std::string_view(curl_easy_strerror(code)) : detail);
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      return absl::FailedPreconditionError(message);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return absl::InvalidArgumentError(message);
    case CURLE_OUT_OF_MEMORY:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

/// Returns the text of an element of an error that S3 sends, to be shown; empty if there is none.
std::string ElementIn(const std::string& body, std::string_view name) {
  constexpr size_t longest = 200;
  const std::string start = fmt::format("<{}>", name);
  const size_t begin = body.find(start);
  if (begin == std::string::npos) return "";
  const size_t end = body.find('<', begin + start.size());
  if (end == std::string::npos) return "";
  return PrintableText(body.substr(begin + start.size(), std::min(longest, end - begin - start.size())));
}

}  // namespace

/// One request to one URL, without redirects.
class HttpClient::Transfer {
 public:
  Transfer(CURL* handle, const HttpRules& rules, const HttpRequest& request, const Sink& sink, const Progress& progress)
      : handle_(handle), rules_(rules), request_(request), sink_(sink), progress_(progress) {}

  absl::StatusOr<HttpResponse> Run() {
    const std::vector<std::string>& trusted = rules_.trusted_origins;
    const bool is_trusted = std::find(trusted.begin(), trusted.end(), OriginOf(request_.url)) != trusted.end();
    if (!is_trusted && !request_.url.starts_with("https://")) {
      return absl::PermissionDeniedError(fmt::format("{}: only https is allowed", WithoutQuery(request_.url)));
    }
    const bool may_be_private = is_trusted || rules_.allows_private_addresses;
    checks_address_ = !may_be_private && !UsesProxy();
    REGROUP_RETURN_IF_ERROR(SetOptions());
    // A proxy decides which hosts may be reached, so no host that is not trusted may pass it by.
    if (!may_be_private && UsesProxy()) Set(CURLOPT_NOPROXY, "");
    const CURLcode code = curl_easy_perform(handle_);
    if (code != CURLE_OK) REGROUP_RETURN_IF_ERROR(failure_);
    if (code != CURLE_OK) return StatusOfCurl(code, error_.data(), request_.url);
    response_.status = Status();
    response_.url = request_.url;
    return std::move(response_);
  }

 private:
  template <typename Value>
  void Set(CURLoption option, Value value) {
    curl_easy_setopt(handle_, option, value);
  }

  absl::Status SetOptions() {
    curl_easy_reset(handle_);
    Set(CURLOPT_URL, request_.url.c_str());
    Set(CURLOPT_PROTOCOLS_STR, "http,https");
    Set(CURLOPT_FOLLOWLOCATION, 0L);
    Set(CURLOPT_NOSIGNAL, 1L);
    Set(CURLOPT_CONNECTTIMEOUT, static_cast<long>(rules_.connect_timeout_s));
    Set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    const int stall_s = request_.stall_timeout_s > 0 ? request_.stall_timeout_s : rules_.stall_timeout_s;
    Set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(stall_s));
    Set(CURLOPT_ERRORBUFFER, error_.data());
    Set(CURLOPT_USERAGENT, "regroup");
    if (const char* const file = std::getenv("SSL_CERT_FILE"); file != nullptr && *file != '\0') {
      Set(CURLOPT_CAINFO, file);
    }
    Set(CURLOPT_OPENSOCKETFUNCTION, &Transfer::OpenSocket);
    Set(CURLOPT_OPENSOCKETDATA, this);
    Set(CURLOPT_HEADERFUNCTION, &Transfer::ReceiveHeader);
    Set(CURLOPT_HEADERDATA, this);
    Set(CURLOPT_WRITEFUNCTION, &Transfer::ReceiveBody);
    Set(CURLOPT_WRITEDATA, this);
    Set(CURLOPT_NOPROGRESS, 0L);
    Set(CURLOPT_XFERINFOFUNCTION, &Transfer::NoteProgress);
    Set(CURLOPT_XFERINFODATA, this);
    SetMethod();
    return SetHeaders();
  }

  void SetMethod() {
    if (request_.method == "HEAD") {
      Set(CURLOPT_NOBODY, 1L);
      return;
    }
    Set(CURLOPT_CUSTOMREQUEST, request_.method.c_str());
    if (request_.file) {
      Set(CURLOPT_UPLOAD, 1L);
      Set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request_.file->bytes));
      Set(CURLOPT_READFUNCTION, &Transfer::SendFile);
      Set(CURLOPT_READDATA, this);
      Set(CURLOPT_SEEKFUNCTION, &Transfer::SeekFile);
      Set(CURLOPT_SEEKDATA, this);
    } else if (request_.method == "PUT" || request_.method == "POST") {
      Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
      Set(CURLOPT_POSTFIELDS, request_.body.data());
    }
  }

  absl::Status SetHeaders() {
    // Without these, curl adds an "Expect" and a "Content-Type" of its own, which a signature does not cover.
    std::vector<std::string> lines = {"Expect:"};
    if (!request_.headers.contains("content-type")) lines.emplace_back("Content-Type:");
    for (const auto& [name, value] : request_.headers) lines.push_back(fmt::format("{}: {}", name, value));
    for (const std::string& line : lines) {
      if (line.find_first_of("\r\n") != std::string::npos) {
        return absl::InvalidArgumentError("a header or a credential has a line break");
      }
      headers_.reset(curl_slist_append(headers_.release(), line.c_str()));
    }
    Set(CURLOPT_HTTPHEADER, headers_.get());
    return absl::OkStatus();
  }

  /// Checks the address that the host's name resolved to, the very one that the connection uses.
  static curl_socket_t OpenSocket(void* self, curlsocktype purpose, curl_sockaddr* address) {
    auto& transfer = *static_cast<Transfer*>(self);
    if (transfer.checks_address_ && !IsPublicAddress(&address->addr)) {
      transfer.failure_ = absl::PermissionDeniedError(
          fmt::format("{}: the host has a private address, which this cluster does not allow",
                      WithoutQuery(transfer.request_.url)));
      return CURL_SOCKET_BAD;
    }
    transfer.failure_ = absl::OkStatus();
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  }

  static size_t ReceiveHeader(char* text, size_t size, size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    const size_t bytes = size * count;
    transfer.header_bytes_ += bytes;
    if (transfer.header_bytes_ > kLongestHeaders) return transfer.Fail("sends too many headers");
    const std::string line(text, bytes);
    if (line.starts_with("HTTP/")) transfer.response_.headers.clear();
    const size_t colon = line.find(':');
    if (colon == std::string::npos) return bytes;
    std::string value = line.substr(colon + 1);
    absl::StripAsciiWhitespace(&value);
    transfer.response_.headers[absl::AsciiStrToLower(line.substr(0, colon))] = std::move(value);
    return bytes;
  }

  static size_t ReceiveBody(char* text, size_t size, size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    const std::string_view piece(text, size * count);
    const int status = transfer.response_.status = transfer.Status();
    const bool is_content = status == 200 || status == 206;
    if (is_content && transfer.sink_) {
      transfer.failure_ = transfer.sink_(transfer.response_, piece);
      return transfer.failure_.ok() ? piece.size() : 0;
    }
    std::string& body = transfer.response_.body;
    if (is_content && body.size() + piece.size() > transfer.rules_.longest_body) return transfer.Fail("is too long");
    if (is_content || body.size() < kLongestErrorBody) body += piece;
    return piece.size();
  }

  static size_t SendFile(char* buffer, size_t size, size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    const FilePart& file = *transfer.request_.file;
    const size_t wanted = std::min<uint64_t>(size * count, file.bytes - transfer.sent_);
    const ssize_t got = pread(file.descriptor, buffer, wanted, static_cast<off_t>(file.offset + transfer.sent_));
    if (got < 0 || (got == 0 && wanted > 0)) {
      transfer.failure_ = absl::DataLossError(got < 0 ? fmt::format("the file cannot be read: {}", strerror(errno))
                                                      : "the file became shorter");
      return CURL_READFUNC_ABORT;
    }
    transfer.sent_ += static_cast<uint64_t>(got);
    return static_cast<size_t>(got);
  }

  /// Called when the server wants the part once more, for example on a fresh connection.
  static int SeekFile(void* self, curl_off_t offset, int origin) {
    if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
    static_cast<Transfer*>(self)->sent_ = static_cast<uint64_t>(offset);
    return CURL_SEEKFUNC_OK;
  }

  static int NoteProgress(void* self, curl_off_t, curl_off_t received, curl_off_t, curl_off_t sent) {
    auto& transfer = *static_cast<Transfer*>(self);
    if (!transfer.progress_ || transfer.progress_(static_cast<uint64_t>(received + sent))) return 0;
    transfer.failure_ = absl::CancelledError("the transfer was ended");
    return 1;
  }

  int Status() {
    long status = 0;
    curl_easy_getinfo(handle_, CURLINFO_RESPONSE_CODE, &status);
    return static_cast<int>(status);
  }

  size_t Fail(std::string_view complaint) {
    failure_ = absl::ResourceExhaustedError(fmt::format("the answer of {} {}", WithoutQuery(request_.url), complaint));
    return 0;
  }

  friend class HttpClient;

  CURL* const handle_;
  const HttpRules& rules_;
  const HttpRequest& request_;
  const Sink& sink_;
  const Progress& progress_;
  HeaderList headers_;
  HttpResponse response_;
  absl::Status failure_;
  std::array<char, CURL_ERROR_SIZE> error_ = {};
  bool checks_address_ = true;
  size_t header_bytes_ = 0;
  uint64_t sent_ = 0;
};

void HttpClient::FreeHandle::operator()(void* handle) const { curl_easy_cleanup(handle); }

HttpClient::HttpClient(HttpRules rules) : rules_(std::move(rules)) {
  InitCurl();
  handle_.reset(curl_easy_init());
}

HttpClient::~HttpClient() = default;

absl::StatusOr<HttpResponse> HttpClient::Send(const HttpRequest& request, const Sink& sink, const Progress& progress) {
  HttpRequest current = request;
  for (int redirects = 0; redirects <= kMostRedirects; ++redirects) {
    Transfer transfer(handle_.get(), rules_, current, sink, progress);
    absl::StatusOr<HttpResponse> response = transfer.Run();
    // The handle keeps pointers to the transfer.
    curl_easy_reset(handle_.get());
    REGROUP_RETURN_IF_ERROR(response.status());
    const auto location = response->headers.find("location");
    const bool reads = request.method == "GET" || request.method == "HEAD";
    if (NamesOtherRegion(request, *response)) return response;
    if (!IsRedirect(response->status) || !reads || location == response->headers.end()) return response;
    REGROUP_ASSIGN_OR_RETURN(std::string target, RedirectTarget(current.url, location->second));
    if (OriginOf(target) != OriginOf(current.url)) {
      std::erase_if(current.headers, [](const auto& header) { return BelongsToOrigin(header.first); });
    }
    current.url = std::move(target);
  }
  return absl::UnavailableError(fmt::format("{} redirects too often", WithoutQuery(request.url)));
}

std::string ErrorElement(const HttpResponse& response, std::string_view name) { return ElementIn(response.body, name); }

absl::Status StatusOf(const HttpResponse& response, std::string_view what) {
  if (response.status >= 200 && response.status < 300) return absl::OkStatus();
  const std::string code = ElementIn(response.body, "Code");
  const std::string message =
      fmt::format("{}: {} answers with status {}{}{}", what, HostOf(response.url), response.status,
                  code.empty() ? "" : ": " + code, code.empty() ? "" : ", " + ElementIn(response.body, "Message"));
  // S3 gives several reasons the same status.
  if (code == "ExpiredToken" || code == "InvalidToken") return absl::PermissionDeniedError(message);
  if (code == "RequestTimeout" || code == "OperationAborted") return absl::UnavailableError(message);
  if (code == "ConditionalRequestConflict") return absl::AbortedError(message);
  if (code == "NotImplemented") return absl::UnimplementedError(message);
  switch (response.status) {
    case 401:
    case 403:
      return absl::PermissionDeniedError(message);
    case 404:
    case 410:
      return absl::NotFoundError(message);
    case 412:
    case 416:
      return absl::AbortedError(message);
    case 408:
    case 429:
      return absl::UnavailableError(message);
    default:
      return response.status >= 500 ? absl::UnavailableError(message) : absl::InvalidArgumentError(message);
  }
}

std::optional<int> RetryAfterSeconds(const HttpResponse& response) {
  const auto header = response.headers.find("retry-after");
  if (header == response.headers.end()) return std::nullopt;
  if (int seconds = 0; absl::SimpleAtoi(header->second, &seconds)) return std::clamp(seconds, 0, kLongestRetryAfterS);
  const time_t when = curl_getdate(header->second.c_str(), nullptr);
  if (when < 0) return std::nullopt;
  return static_cast<int>(std::clamp<int64_t>(when - time(nullptr), 0, kLongestRetryAfterS));
}

std::string WithoutQuery(std::string_view url) { return std::string(url.substr(0, url.find_first_of("?#"))); }

std::string OriginOf(const std::string& url_text) {
  const Url url = ParseUrl(url_text);
  return absl::AsciiStrToLower(fmt::format("{}://{}:{}", PartOf(url, CURLUPART_SCHEME), PartOf(url, CURLUPART_HOST),
                                           PartOf(url, CURLUPART_PORT, CURLU_DEFAULT_PORT)));
}

std::string HostOf(const std::string& url) { return absl::AsciiStrToLower(PartOf(ParseUrl(url), CURLUPART_HOST)); }

std::string PercentEncoded(std::string_view text, bool keeps_slashes) {
  std::string encoded;
  for (const char c : text) {
    const bool is_plain = absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_' ||
                          c == '~' || (keeps_slashes && c == '/');
    encoded += is_plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

}  // namespace regroup
