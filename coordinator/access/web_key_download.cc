#include "coordinator/access/web_key_download.h"

#include <fmt/format.h>

#include <utility>

#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kTick(200);
constexpr seconds kLongestDownload(30);
constexpr int kConnectTimeoutS = 10;
constexpr int kUnknownKeysPerInterval = 10;
constexpr char kHttp[] = "http://";
constexpr char kHttps[] = "https://";

bool IsThisMachine(const std::string& host) { return host == "localhost" || host == "127.0.0.1" || host == "[::1]"; }

/// The operator chose the host, so its address may be private; plain http is for this machine alone, also after a
/// redirect.
HttpRules RulesFor(const std::string& url) {
  HttpRules rules;
  rules.allows_private_addresses = true;
  rules.connect_timeout_s = kConnectTimeoutS;
  rules.stall_timeout_s = kConnectTimeoutS;
  rules.longest_body = kMostWebKeySetBytes;
  if (url.starts_with(kHttp)) rules.trusted_origins = {OriginOf(url)};
  return rules;
}

}  // namespace

bool IsUrl(const std::string& text) { return text.find("://") != std::string::npos; }

absl::Status WebKeyDownload::CheckUrl(const std::string& url) {
  const std::string host = HostOf(url);
  if (!host.empty() && (url.starts_with(kHttps) || (url.starts_with(kHttp) && IsThisMachine(host)))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("--jwt-keys: {} is neither a file nor an https URL; plain http is allowed to this machine only",
                  WithoutQuery(url)));
}

WebKeyDownload::WebKeyDownload(std::string url, seconds interval)
    : url_(std::move(url)),
      interval_(interval),
      client_(RulesFor(url_)),
      last_(Clock::now() - interval),
      keys_(absl::UnavailableError(fmt::format("the keys of {} have not been downloaded yet", WithoutQuery(url_)))),
      ticker_(kTick, [this] { DownloadIfDue(); }) {}

WebKeyDownload::~WebKeyDownload() {
  stops_ = true;
  ticker_.Stop();
}

WebKeyDownload::Result WebKeyDownload::keys() const {
  const std::lock_guard lock(mutex_);
  return keys_;
}

void WebKeyDownload::DownloadIfDue() {
  const Clock::duration since = Clock::now() - last_;
  if (since < interval_ && !(is_wanted_ && since >= milliseconds(interval_) / kUnknownKeysPerInterval)) return;
  last_ = Clock::now();
  is_wanted_ = false;
  Keep(Download());
  // Without any keys nobody with a token is admitted, so the next try is not an interval away.
  if (!keys().ok()) is_wanted_ = true;
}

absl::StatusOr<WebKeySet> WebKeyDownload::Download() {
  const Clock::time_point deadline = Clock::now() + kLongestDownload;
  HttpRequest request;
  request.url = url_;
  request.headers = {{"accept", "application/jwk-set+json, application/json"}};
  REGROUP_ASSIGN_OR_RETURN(const HttpResponse response, client_.Send(request, nullptr, [this, deadline](uint64_t) {
    return !stops_ && Clock::now() < deadline;
  }));
  REGROUP_RETURN_IF_ERROR(StatusOf(response, "the keys of --jwt-keys"));
  return WebKeySet::Parse(response.body);
}

void WebKeyDownload::Keep(absl::StatusOr<WebKeySet> downloaded) {
  if (stops_) return;
  if (!downloaded.ok()) {
    if (downloaded.status() != last_failure_) {
      LogError("the keys for JWTs cannot be downloaded; those before, if any, stay valid",
               {{"url", WithoutQuery(url_)}, {"reason", std::string(downloaded.status().message())}});
    }
    last_failure_ = downloaded.status();
    return;
  }
  last_failure_ = absl::OkStatus();
  const std::lock_guard lock(mutex_);
  const bool is_new = !keys_.ok() || !(*keys_)->IsSameAs(*downloaded);
  if (is_new) LogInfo("keys for JWTs downloaded", {{"url", WithoutQuery(url_)}, {"entries", downloaded->size()}});
  keys_ = std::make_shared<const WebKeySet>(*std::move(downloaded));
}

}  // namespace regroup
