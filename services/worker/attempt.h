// One attempt of one task: its folder, its processes, its watchdog, its end.
//
// Owned by the AttemptTable. A thread of its own does everything, from the first folder to the last process; the other
// functions may be called from any thread. The end is announced only when no process of the attempt is left.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/worker_service.pb.h"
#include "services/worker/attempt_ending.h"
#include "services/worker/attempt_key.h"
#include "services/worker/launch_plan.h"
#include "services/worker/log_collector.h"
#include "services/worker/process_group.h"
#include "services/worker/rank_board.h"
#include "services/worker/rank_logs.h"
#include "services/worker/trainer_server.h"
#include "services/worker/worker_options.h"

namespace regroup {

/// What every attempt of a worker shares. Outlives all attempts.
struct AttemptServices {
  WorkerOptions options;
  TrainerServer* trainer_server = nullptr;
  /// Private folder with a short path.
  std::filesystem::path runtime_folder;
  Environment inherited;
  int cores = 1;
};

/// How an attempt is to be stopped.
struct StopRequest {
  Verdict verdict;
  /// Without a polite signal and its grace.
  bool at_once = false;
};

class Attempt {
 public:
  using EndCallback = std::function<void(const AttemptKey&, const v1::TaskOutcome&)>;

  /// Starts the attempt's thread. `on_end` is called from it, once, as the last thing it does.
  Attempt(v1::TaskAssignment assignment, std::string visible_devices, const AttemptServices* services,
          EndCallback on_end);
  /// Kills what runs and waits for the thread.
  ~Attempt();

  const AttemptKey& key() const { return key_; }
  int ranks() const { return assignment_.ranks(); }
  const std::shared_ptr<LogCollector>& collector() const { return collector_; }

  /// Asks for the end; the first request's verdict counts, a later one may only make haste.
  void RequestStop(StopRequest request);

  /// Returns when no process of the attempt is left.
  void WaitForEnd();

 private:
  void Run(const EndCallback& on_end);
  v1::TaskOutcome RunToEnd();
  absl::Status Prepare();
  absl::Status StartProcesses();
  void Supervise();
  bool MustKill(SteadyTime now);
  std::optional<StopRequest> FindReasonToStop(SteadyTime now);
  std::optional<StopRequest> FindOverdue(SteadyTime now) const;
  void BeginStop(const StopRequest& request, SteadyTime now);
  void Condemn(const StopRequest& request);
  void KillEverything();
  AttemptEvidence GatherEvidence();
  /// A failure where the job names paths that this worker does not allow.
  std::optional<v1::TaskOutcome> RefusePaths() const;
  v1::TaskOutcome FailedToStart(const absl::Status& status) const;

  const v1::TaskAssignment assignment_;
  const AttemptKey key_;
  const std::string visible_devices_;
  const AttemptServices* const services_;
  const std::filesystem::path folder_;
  const std::filesystem::path temporary_folder_;
  const std::string token_;
  const std::shared_ptr<RankBoard> board_;
  const std::shared_ptr<LogCollector> collector_;

  // The attempt's thread alone.
  std::optional<RankLogs> logs_;
  SteadyTime start_time_;
  /// Unset while the attempt may go on, and when a rank reported a failure before the worker stepped in.
  std::optional<Verdict> verdict_;
  bool killed_ = false;
  std::optional<SteadyTime> kill_time_;

  std::mutex mutex_;
  std::condition_variable ended_condition_;
  std::unique_ptr<ProcessGroup> processes_;
  std::optional<StopRequest> stop_request_;
  bool ended_ = false;

  std::thread thread_;
};

}  // namespace regroup
