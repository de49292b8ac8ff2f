// What a worker holds of one attempt: all of it, or its part of a gang on several workers.
//
// Owned by the AttemptTable. Each has a thread of its own, from the first folder to the last process; the functions may
// be called from any thread. The end is announced only when no process of the attempt is left on this worker.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "services/worker/attempt/attempt_ending.h"
#include "services/worker/attempt/launch_plan.h"
#include "services/worker/attempt/rank_contact.h"
#include "services/worker/attempt/trainer_server.h"
#include "services/worker/attempt_key.h"
#include "services/worker/gang/daemon_run.h"
#include "services/worker/logs/log_collector.h"
#include "services/worker/process/process_group.h"
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

/// Adds a request to those before: the first one's verdict counts, a later one may only make haste.
void AddStopRequest(StopRequest request, std::optional<StopRequest>& requested);

class Attempt {
 public:
  /// Called from the attempt's thread, once, as the last thing it does.
  using EndCallback = std::function<void(const AttemptKey&, const v1::TaskOutcome&)>;

  /// Kills what runs and waits for the thread.
  virtual ~Attempt() = default;

  virtual const AttemptKey& key() const = 0;
  /// Slots that it takes on this worker.
  virtual int ranks() const = 0;
  virtual const std::shared_ptr<LogCollector>& collector() const = 0;

  /// Asks for the end, see AddStopRequest.
  virtual void RequestStop(StopRequest request) = 0;

  /// Returns when no process of the attempt is left.
  virtual void WaitForEnd() = 0;

  // For the other workers of a gang.

  /// The secret that they show; empty where there are none.
  virtual const std::string& gang_token() const = 0;
  /// Whom the ranks of helpers talk to; null where this worker does not lead.
  virtual std::shared_ptr<RankContact> ContactOfHelpers() { return nullptr; }
  /// Starts the gang's daemon here. FAILED_PRECONDITION where this worker does not help, or was asked before.
  virtual absl::Status StartDaemon(std::shared_ptr<DaemonRun> run) {
    return absl::FailedPreconditionError("this worker leads the attempt and runs no daemon for it");
  }
};

/// Starts the part of the attempt that the assignment gives to this worker. `visible_devices` are those of its slots.
std::unique_ptr<Attempt> StartAttempt(v1::TaskAssignment assignment, std::string visible_devices,
                                      const AttemptServices* services, Attempt::EndCallback on_end);

/// Distinguishes what attempts of this process make outside of their own folders.
int NextAttemptNumber();

/// Returns when no process of the attempt is left; one that the kernel holds on to delays it.
void KillEverythingOf(const AttemptKey& key, ProcessGroup& processes);

/// An empty folder, whatever was there before.
absl::Status MakeFreshFolder(const std::filesystem::path& folder);

/// How many ranks of it this worker runs.
int RanksHere(const v1::TaskAssignment& assignment);

}  // namespace regroup
