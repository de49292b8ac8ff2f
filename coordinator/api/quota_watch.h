// Keeps the quotas of a file up to date. A file that can no longer be used changes nothing: the quotas that were read
// last stay in force, because nobody can tell which were meant.
//
// Thread-safe. Has a thread of its own once there is a file.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "coordinator/schedule/quotas.h"
#include "services/common/base/file_version.h"
#include "services/common/base/ticker.h"

namespace regroup {

class QuotaWatch {
 public:
  struct Listener {
    /// Receives the quotas, at Start and whenever they change.
    std::function<void(const Quotas&)> changed;
    /// Receives whether the file can be used, at Start and whenever that changes.
    std::function<void(bool)> readable;
  };

  /// Without a file nobody has quotas.
  QuotaWatch(std::filesystem::path file, Listener listener);

  /// Reads the file, and from then on looks for changes. An error if the file cannot be used.
  absl::Status Start();

  /// Ends the thread: the listener is not called afterwards.
  void Stop() { ticker_.reset(); }

 private:
  absl::Status Read();
  void ReloadIfChanged();

  const std::filesystem::path file_;
  const Listener listener_;
  FileVersion seen_;
  /// OK, or why the file cannot be used.
  absl::Status trouble_;
  /// Declared last: its thread uses the others.
  std::optional<Ticker> ticker_;
};

}  // namespace regroup
