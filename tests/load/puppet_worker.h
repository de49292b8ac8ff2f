// A simulated worker with one slot and no processes: it takes tasks and reports their end at once. Like a real one it
// retries until it has an answer; unlike a correct one it also repeats reports and reports old attempts.
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
  /// Maximum duration of an attempt; the minimum is zero.
  std::chrono::milliseconds longest_attempt{20};
  /// Share of reports that are repeated or name an old attempt.
  double mischief = 0.2;
  uint32_t seed = 0;
};

/// Not thread-safe: belongs to one thread.
class PuppetWorker {
 public:
  PuppetWorker(const Connection& connection, Journal* journal, PuppetOptions options);

  /// Works until `stop`.
  void Run(const std::atomic<bool>& stop);

  /// Makes one step, for callers that control the pace. Returns the task that it got, if any.
  std::optional<v1::TaskAssignment> Acquire(std::chrono::milliseconds wait);
  /// Asks for permission to publish a report task's result, then reports success; repeats both until answered. OK once
  /// it is applied.
  absl::Status Finish(const v1::TaskAssignment& assignment);
  /// Reports how the attempt ended; repeats the call until it is answered.
  absl::Status Report(const v1::AttemptId& attempt, const v1::TaskOutcome& outcome);
  /// Ends the running attempt without a report.
  void Drop() { running_.reset(); }
  /// Registers if that was not done yet, or if the coordinator no longer knows this worker.
  void KeepRegistered();
  uint64_t incarnation() const { return incarnation_; }
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
  std::chrono::steady_clock::time_point last_beat_{};
};

}  // namespace regroup
