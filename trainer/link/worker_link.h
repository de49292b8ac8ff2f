// The trainer's side of the unix socket to its worker: proves what this rank is, reports progress and signs of life
// twice a second from a thread of its own, and hands over the outcome.
//
// Set* and Add* may be called from any thread. A rank exits when its worker tells it to, or does not answer for 10 s or
// until the end of the worker's lease.
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
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/trainer_service.pb.h"
#include "trainer/parallel/activity.h"

namespace regroup {

class WorkerLink {
 public:
  /// Attests over the socket that REGROUP_WORKER_SOCKET names; without it, reports go to standard error (for
  /// development). FAILED_PRECONDITION if the worker does not accept this rank.
  static absl::StatusOr<std::unique_ptr<WorkerLink>> Connect(const v1::AttemptId& attempt, int rank, int world_size);
  ~WorkerLink();

  /// What is being done and how far it is; `total` 0 means unknown.
  void SetProgress(std::string_view phase, int64_t done, int64_t total);
  /// Values of one training step, kept as a series and shown as the latest values.
  void AddMetrics(int64_t step, std::initializer_list<std::pair<std::string_view, double>> values);
  /// From now on the values are also appended to `file`, one JSON object {"step": ..., "loss": ...} a line, where the
  /// report finds them.
  void RecordMetrics(const std::filesystem::path& file);
  ActivityBoard& activity() { return activity_; }

  /// Sends everything that is left together with the outcome.
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
  /// When the rank exits if it gets no other answer. Of the reporter's thread, and of Finish after its end.
  std::chrono::steady_clock::time_point give_up_;
  ActivityBoard activity_;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  /// Where this process began its phase: an attempt that resumes begins in the middle.
  struct PhaseStart {
    std::string phase;
    int64_t done = 0;
    std::chrono::steady_clock::time_point time;
  };
  /// From this process' own pace; nothing before there is one.
  std::optional<double> RemainingSeconds(std::string_view phase, int64_t done, int64_t total);

  PhaseStart phase_start_;
  v1::Progress progress_;
  bool progress_changed_ = false;
  std::vector<v1::MetricPoint> metrics_;
  std::ofstream record_;
  std::thread reporter_;
};

}  // namespace regroup
