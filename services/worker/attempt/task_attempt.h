// An attempt that this worker runs alone or, for a gang on several workers, leads: its folder, its processes, its
// watchdog, and the decision on its outcome.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "regroup/v1/worker_service.pb.h"
#include "services/worker/attempt/rank_board.h"
#include "services/worker/attempt/supervised_attempt.h"
#include "services/worker/logs/rank_logs.h"

namespace regroup {

class TaskAttempt : public SupervisedAttempt {
 public:
  TaskAttempt(v1::TaskAssignment assignment, std::string visible_devices, const AttemptServices* services);
  ~TaskAttempt() override { EndThread(); }

  void RequestPause() override;
  std::shared_ptr<RankContact> ContactOfHelpers() override { return is_spread() ? contact_ : nullptr; }

 private:
  v1::TaskOutcome Run() override;
  void ForwardOutput() override { logs_->Forward(); }
  std::optional<StopRequest> FindReasonToStop(SteadyTime now) override;
  void OnStop(const StopRequest& request) override;

  absl::Status Prepare();
  /// Writes the files that mpirun and regroup-rsh read, for a gang on several workers.
  absl::Status WriteGangFiles() const;
  /// Names the worker whose ranks have not joined; empty if all have, or if no other worker takes part.
  std::string WhoIsMissing() const;
  absl::Status StartRanks();
  std::optional<StopRequest> FindOverdue(SteadyTime now) const;
  AttemptEvidence GatherEvidence();
  /// Returns a failure if the job names paths that this worker does not allow.
  std::optional<v1::TaskOutcome> RefusePaths() const;
  v1::TaskOutcome FailedToStart(const absl::Status& status) const;

  const std::shared_ptr<RankBoard> board_;
  const std::shared_ptr<RankContact> contact_;

  // Used by the attempt's thread only.
  std::optional<RankLogs> logs_;
  SteadyTime start_time_;
  /// Not set while the attempt may go on, nor if a rank reported a failure before the worker stopped the attempt.
  std::optional<Verdict> verdict_;
  bool killed_ = false;
};

}  // namespace regroup
