// The trainer's end of the unix socket to its worker: it attests the rank, sends progress and heartbeats twice a second
// from a thread of its own, and delivers the outcome.
//
// Set*, Add* and ContinueAfter may be called from any thread. A rank exits when its worker tells it to, or when the
// worker does not answer for 10 s or until the end of its lease.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/trainer_service.pb.h"
#include "trainer/link/metric_observer.h"
#include "trainer/parallel/activity.h"

namespace regroup {

class WorkerLink {
 public:
  /// Attests over the socket that REGROUP_WORKER_SOCKET names; without it, reports go to standard error (for
  /// development). FAILED_PRECONDITION if the worker does not accept this rank.
  static absl::StatusOr<std::unique_ptr<WorkerLink>> Connect(const v1::AttemptId& attempt, int rank, int world_size);
  ~WorkerLink();

  /// Sets the current phase and its progress; a `total` of 0 means unknown.
  void SetProgress(std::string_view phase, int64_t done, int64_t total);
  /// Returns the current phase; empty before the first.
  std::string phase();
  /// Adds the values of one training step to the series; the latest values are also shown.
  void AddMetrics(int64_t step, std::initializer_list<std::pair<std::string_view, double>> values);
  /// Also appends the values of later calls to `file`, which the report reads: one JSON object {"step": ..., "loss":
  /// ...} per line.
  void RecordMetrics(const std::filesystem::path& file);
  /// Passes on values of a step that only an observer takes.
  void AddHistogram(int64_t step, std::string_view name, std::span<const double> values);
  /// Says that training continues after `step`: values of later steps are void.
  void ContinueAfter(int64_t step);
  /// Passes what later calls add to `observer` too, which takes the place of an earlier one; null ends that.
  void ObserveMetrics(std::unique_ptr<MetricObserver> observer);
  ActivityBoard& activity() { return activity_; }
  /// Returns true once the worker has said that the job is paused; only rank 0 is told.
  bool is_pausing() const { return pausing_; }

  /// Sends all remaining reports together with the outcome. Only the first outcome counts: later calls wait until it is
  /// sent and return FAILED_PRECONDITION.
  absl::Status Finish(const v1::TaskOutcome& outcome);

 private:
  struct Client;
  WorkerLink(const v1::AttemptId& attempt, int rank);
  void ReportLoop();
  v1::ReportRequest TakeReport();
  absl::Status Send(const v1::ReportRequest& request, std::chrono::steady_clock::duration patience);

  v1::AttemptId attempt_;
  int rank_;
  std::unique_ptr<Client> client_;
  /// Time at which the rank exits unless it gets another answer. Used by the reporter's thread, and by Finish after
  /// that thread has ended.
  std::chrono::steady_clock::time_point give_up_;
  ActivityBoard activity_;
  std::atomic<bool> pausing_ = false;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  /// Start of the current phase in this process: an attempt that resumes starts in the middle.
  struct PhaseStart {
    std::string phase;
    int64_t done = 0;
    std::chrono::steady_clock::time_point time;
  };
  /// Estimates the remaining time from this process's own pace; nullopt before there is one.
  std::optional<double> RemainingSeconds(std::string_view phase, int64_t done, int64_t total);

  PhaseStart phase_start_;
  v1::Progress progress_;
  bool progress_changed_ = false;
  std::vector<v1::MetricPoint> metrics_;
  std::ofstream record_;
  /// The reporter's thread never waits for the observer, which may write to a slow disk.
  std::mutex observer_mutex_;
  std::unique_ptr<MetricObserver> observer_;
  std::mutex finish_mutex_;
  bool finished_ = false;
  std::thread reporter_;
};

}  // namespace regroup
