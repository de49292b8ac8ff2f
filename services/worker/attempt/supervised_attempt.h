// This worker's share of one attempt: all of it (TaskAttempt), or a part of a gang that another worker leads
// (GangHelperAttempt). This base class has what both share: the thread, the temporary folder, the processes, requests
// to stop, and the end.
//
// Owned by the AttemptTable. A thread of its own does everything, from the first folder to the last process; the public
// functions may be called from any thread. The end is announced only when no process of the attempt is left on this
// worker.
#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "regroup/v1/worker_service.pb.h"
#include "services/worker/attempt/attempt_ending.h"
#include "services/worker/attempt/launch_plan.h"
#include "services/worker/attempt/trainer_server.h"
#include "services/worker/attempt_key.h"
#include "services/worker/gang/daemon_run.h"
#include "services/worker/logs/log_collector.h"
#include "services/worker/process/process_group.h"
#include "services/worker/worker_options.h"

namespace regroup {

/// Holds what all attempts of a worker share. Outlives them.
struct AttemptServices {
  WorkerOptions options;
  TrainerServer* trainer_server = nullptr;
  LogCollectors* collectors = nullptr;
  /// A private folder with a short path.
  std::filesystem::path runtime_folder;
  Environment inherited;
  int cores = 1;
};

/// Says why and how fast an attempt must stop.
struct StopRequest {
  Verdict verdict;
  /// If true, the processes are killed without SIGTERM and its grace period.
  bool at_once = false;
};

class SupervisedAttempt {
 public:
  /// Called from the attempt's thread, once, as the last thing it does.
  using EndCallback = std::function<void(const AttemptKey&, const v1::TaskOutcome&)>;

  /// Each subclass kills its processes and waits for the thread, see EndThread.
  virtual ~SupervisedAttempt() = default;

  const AttemptKey& key() const { return key_; }

  /// Starts the thread; called once.
  void Start(EndCallback on_end);

  /// Asks the attempt to stop. The first request's verdict wins; a later request can only make the stop immediate.
  void RequestStop(StopRequest request);

  /// Asks the attempt to end because its job is paused: training after a checkpoint, anything else at once. Does
  /// nothing on a helper of a gang, which ends with its lead.
  virtual void RequestPause() {}

  /// Returns when no process of the attempt is left.
  void WaitForEnd();

  // For the other workers of a gang.

  /// The token that the other workers send; empty if there are none.
  const std::string& gang_token() const { return assignment_.gang().token(); }
  /// Returns the contact that answers the helpers' ranks; null if this worker does not lead.
  virtual std::shared_ptr<RankContact> ContactOfHelpers() { return nullptr; }
  /// Starts the gang's daemon on this worker. FAILED_PRECONDITION if this worker is not a helper, or has already been
  /// asked.
  virtual absl::Status StartDaemon(std::shared_ptr<DaemonRun> run);

 protected:
  /// `visible_devices` are those of the slots that the attempt takes.
  SupervisedAttempt(v1::TaskAssignment assignment, std::string visible_devices, const AttemptServices* services);

  /// Kills the processes and waits for the thread. Every subclass calls it first in its destructor, because the thread
  /// uses the subclass's members.
  void EndThread();

  // The attempt's thread calls these.

  /// Runs the attempt from start to end, and returns its outcome.
  virtual v1::TaskOutcome Run() = 0;
  /// Reads and forwards what the processes wrote.
  virtual void ForwardOutput() = 0;
  /// Returns the attempt's own reason to stop, if it has one. A subclass that needs no reason may set `kill_time_`
  /// instead. Not called once the attempt is stopping.
  virtual std::optional<StopRequest> FindReasonToStop(SteadyTime now) = 0;
  /// Called when the attempt begins to stop, to ask the processes to end; the base kills those that do not.
  virtual void OnStop(const StopRequest& request) = 0;

  // For the subclass, on the attempt's thread.

  /// Lets `contact` answer the ranks that send the attempt's token, until the attempt ends.
  void AcceptRanks(std::shared_ptr<RankContact> contact);
  LaunchContext MakeLaunchContext() const;
  absl::Status StartProcesses(const ProcessPlan& plan);
  /// Checks the attempt at this interval until its leader exits; returns true if the worker must kill it before that.
  bool Supervise(std::chrono::milliseconds interval);
  /// Kills all processes of the attempt and returns when none is left; a process stuck in the kernel delays it.
  void KillEverything();
  std::optional<StopRequest> stop_request() const;

  bool is_spread() const { return assignment_.gang().members_size() > 1; }

  const v1::TaskAssignment assignment_;
  const AttemptKey key_;
  const AttemptServices* const services_;
  /// Tells apart the files and groups that the attempts of this process create outside their own folders.
  const int number_;
  const std::filesystem::path folder_;
  const std::filesystem::path temporary_folder_;
  /// The token that the ranks send.
  const std::string token_;
  const std::shared_ptr<LogCollector> collector_;

  // Used by the attempt's thread only.
  std::optional<SteadyTime> kill_time_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<ProcessGroup> processes_;
  std::optional<StopRequest> stop_request_;
  bool ended_ = false;

 private:
  void RunAndAnnounce(const EndCallback& on_end);
  bool MustKill(SteadyTime now);

  const std::string visible_devices_;
  std::thread thread_;
};

/// Makes an empty folder; removes whatever was there before.
absl::Status MakeFreshFolder(const std::filesystem::path& folder);

/// Returns the number of ranks that this worker runs, which is the number of slots that the attempt takes.
int RanksHere(const v1::TaskAssignment& assignment);

}  // namespace regroup
