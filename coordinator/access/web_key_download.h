// Keeps the keys of an issuer that publishes them at a URL: downloads them on a thread of its own, again and again, and
// sooner when a token names a key that is unknown.
//
// A download that fails leaves the keys as they were. Size and time of a download are bounded, and so is the number of
// those that unknown keys cause, because anybody can name one. Thread-safe. Owned by JwtIdentity.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/access/web_key_set.h"
#include "services/common/base/ticker.h"
#include "services/common/remote/http_client.h"

namespace regroup {

/// Returns true for text that begins like a URL and not like the path of a file.
bool IsUrl(const std::string& text);

class WebKeyDownload {
 public:
  using Result = absl::StatusOr<std::shared_ptr<const WebKeySet>>;

  /// Starts the downloads, one in each interval. Unknown keys cause one more in a tenth of it, at most.
  WebKeyDownload(std::string url, std::chrono::seconds interval);
  ~WebKeyDownload();

  /// Returns OK for a URL with https, or with http to this machine. INVALID_ARGUMENT for any other.
  static absl::Status CheckUrl(const std::string& url);

  /// Returns the last keys that were downloaded. UNAVAILABLE until there are some.
  Result keys() const;

  /// Asks for a download soon.
  void NoteUnknownKey() { is_wanted_ = true; }

 private:
  using Clock = std::chrono::steady_clock;

  void DownloadIfDue();
  absl::StatusOr<WebKeySet> Download();
  void Keep(absl::StatusOr<WebKeySet> downloaded);

  const std::string url_;
  const std::chrono::seconds interval_;
  HttpClient client_;
  std::atomic<bool> is_wanted_ = true;
  std::atomic<bool> stops_ = false;
  /// Used by the ticker's thread only.
  Clock::time_point last_;
  absl::Status last_failure_;
  mutable std::mutex mutex_;
  Result keys_;
  /// Declared last: its thread uses the others.
  Ticker ticker_;
};

}  // namespace regroup
