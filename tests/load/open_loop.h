// Sends calls at fixed times, whether or not earlier ones were answered. A stall of the server then counts for every
// call that had to wait; a client that sends one call after the other would hide it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"

namespace regroup {

/// Collects latencies in milliseconds, counted from the time at which each call was due.
class LatencyReport {
 public:
  void Add(double milliseconds) { milliseconds_.push_back(milliseconds); }
  void AddFailure(const absl::Status& status);
  size_t answered() const { return milliseconds_.size(); }
  size_t failed() const { return failed_; }
  /// Returns {"answered", "failed", "first_failure", "p50_ms", "p90_ms", "p99_ms", "max_ms"}.
  nlohmann::json ToJson() const;

 private:
  std::vector<double> milliseconds_;
  size_t failed_ = 0;
  std::string first_failure_;
};

/// Reports a call's answer; may be called from any thread, once.
using Answered = std::function<void(const absl::Status&)>;
/// Starts call number `call` without waiting for its answer.
using StartCall = std::function<void(int call, Answered answered)>;

/// Starts `per_second` calls per second for `seconds`, and returns when all are answered.
LatencyReport RunOpenLoop(double per_second, double seconds, const StartCall& start);

}  // namespace regroup
