// One run of a gang's daemon on a helper, shared by the call that asked for it and the attempt's thread that runs it.
// Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "regroup/v1/gang_service.pb.h"

namespace regroup {

class DaemonRun {
 public:
  explicit DaemonRun(std::vector<std::string> arguments) : arguments_(std::move(arguments)) {}

  /// Returns the arguments that follow the program's name.
  const std::vector<std::string>& arguments() const { return arguments_; }

  // For the attempt's thread.

  void AddLine(std::string line);
  /// Adds the last event.
  void End(const v1::DaemonExit& exit);
  /// Returns true if the call is over, so that the daemon has to end.
  bool is_abandoned() const;

  // For the call.

  void Abandon();
  /// Returns the next event, or nothing if there is none for `patience`.
  std::optional<v1::RunDaemonResponse> Next(std::chrono::milliseconds patience);

 private:
  const std::vector<std::string> arguments_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::RunDaemonResponse> events_;
  bool is_abandoned_ = false;
};

}  // namespace regroup
