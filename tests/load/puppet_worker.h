// A worker with one slot and without processes: it takes tasks and soon reports an outcome. Like a real worker, it
// repeats a call until it is answered. Unlike a correct worker, it also repeats reports that were answered, and reports
// on old attempts.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <random>
#include <string>

#include "tests/load/connection.h"
#include "tests/load/journal.h"

namespace regroup {

struct PuppetOptions {
  std::string id;
  /// The longest duration of an attempt; the shortest is zero.
  std::chrono::milliseconds longest_attempt{20};
  /// Share of reports that are repeated or sent for an old attempt.
  double mischief = 0.2;
  uint32_t seed = 0;
};

/// Used by one thread only.
class PuppetWorker {
 public:
  PuppetWorker(const Connection& connection, Journal* journal, PuppetOptions options);

  /// Works until `stop`.
  void Run(const std::atomic<bool>& stop);

  /// Makes one AcquireTask call, for callers that decide the pace. Returns the task that was received, if any.
  std::optional<v1::TaskAssignment> Acquire(std::chrono::milliseconds wait);
  /// Asks for permission to publish a report task's result, then reports success; repeats both until answered. OK once
  /// it is applied.
  absl::Status Finish(const v1::TaskAssignment& assignment);
  /// Reports how the attempt ended; repeats the call until it is answered.
  absl::Status Report(const v1::AttemptId& attempt, const v1::TaskOutcome& outcome);
  /// Ends the running attempt without reporting it.
  void Drop() { running_.reset(); }
  /// Registers unless the coordinator already knows this worker.
  void KeepRegistered();
  /// Sends a heartbeat at once.
  void SayWhatRuns();

 private:
  void Register();
  /// Sends a heartbeat if one is due.
  void Beat();
  void Attempt(const v1::TaskAssignment& assignment);
  absl::Status ReportUntilAnswered(const v1::ReportTaskRequest& request);
  void MakeMischief(const v1::ReportTaskRequest& request);
  v1::ReportTaskRequest ReportOf(const v1::AttemptId& attempt) const;
  bool Chance(double share) { return std::uniform_real_distribution<double>()(random_) < share; }

  const PuppetOptions options_;
  Journal* const journal_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  const uint64_t incarnation_;
  std::mt19937 random_;
  std::optional<v1::AttemptId> running_;
  bool is_registered_ = false;
  bool must_stop_ = false;
  std::chrono::steady_clock::time_point last_beat_{};
};

}  // namespace regroup
