// Notices when the certificate files of a program change, can no longer be used, or will soon expire. gRPC reads them
// again by itself and tells nobody: after a mistake every new connection would fail without a word.
//
// Thread-safe.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "services/common/base/file_version.h"
#include "services/common/base/ticker.h"
#include "services/common/rpc/credentials.h"

namespace regroup {

class CertificateWatch {
 public:
  using Expiry = std::chrono::system_clock::time_point;
  /// Receives the status of the files, which names the one that cannot be used, and the time at which the first of
  /// certificate and authority expires; none if they cannot be read.
  using Observer = std::function<void(const absl::Status& status, std::optional<Expiry> expiry)>;

  /// Logs the state of the files and tells the observer, now, and whenever they change, on a thread of its own. Without
  /// files it does nothing.
  explicit CertificateWatch(
      TlsFiles files, Observer observer = [](const absl::Status&, std::optional<Expiry>) {});

 private:
  using Versions = std::array<FileVersion, 3>;

  Versions Look() const;
  void Report();
  void ReportIfChanged();

  const TlsFiles files_;
  const Observer observer_;
  Versions seen_{};
  bool was_usable_ = true;
  /// Declared last: its thread uses the others.
  std::optional<Ticker> ticker_;
};

}  // namespace regroup
