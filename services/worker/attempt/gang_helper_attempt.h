// This worker's part of a gang that another worker leads: it holds the slots, starts Open MPI's daemon at the lead's
// request, relays the ranks' calls, and kills its processes when the lead's call ends.
//
// The lead decides how the attempt ended; the outcome of this part is empty.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "services/worker/attempt/supervised_attempt.h"
#include "services/worker/logs/rank_logs.h"

namespace regroup {

class GangHelperAttempt : public SupervisedAttempt {
 public:
  GangHelperAttempt(v1::TaskAssignment assignment, std::string visible_devices, const AttemptServices* services)
      : SupervisedAttempt(std::move(assignment), std::move(visible_devices), services) {}
  ~GangHelperAttempt() override { EndThread(); }

  absl::Status StartDaemon(std::shared_ptr<DaemonRun> run) override;

 private:
  v1::TaskOutcome Run() override;
  void ForwardOutput() override;
  std::optional<StopRequest> FindReasonToStop(SteadyTime now) override;
  void OnStop(const StopRequest& request) override;

  /// Returns false if the attempt ends before the lead has called.
  bool WaitForCall();
  v1::DaemonExit RunDaemon();
  absl::Status StartRanks();

  // Used by the attempt's thread only.
  std::filesystem::path shared_memory_folder_;
  std::optional<LogFileTail> stdout_;
  std::optional<LogFileTail> stderr_;

  /// Set once, under the base class's mutex.
  std::shared_ptr<DaemonRun> run_;
};

}  // namespace regroup
