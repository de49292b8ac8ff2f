// An attempt that this worker runs or, of a gang on several workers, leads: its folder, its processes, its watchdog,
// its end. A thread of its own does everything.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/worker_service.pb.h"
#include "services/worker/attempt/attempt.h"
#include "services/worker/attempt/rank_board.h"
#include "services/worker/logs/rank_logs.h"
#include "services/worker/process/process_group.h"

namespace regroup {

class TaskAttempt : public Attempt {
 public:
  TaskAttempt(v1::TaskAssignment assignment, std::string visible_devices, const AttemptServices* services,
              EndCallback on_end);
  ~TaskAttempt() override;

  const AttemptKey& key() const override { return key_; }
  int ranks() const override { return RanksHere(assignment_); }
  const std::shared_ptr<LogCollector>& collector() const override { return collector_; }
  void RequestStop(StopRequest request) override;
  void WaitForEnd() override;
  const std::string& gang_token() const override { return assignment_.gang().token(); }
  std::shared_ptr<RankContact> ContactOfHelpers() override { return is_spread() ? contact_ : nullptr; }

 private:
  void Run(const EndCallback& on_end);
  v1::TaskOutcome RunToEnd();
  bool is_spread() const { return assignment_.gang().members_size() > 1; }
  absl::Status Prepare();
  /// What mpirun and regroup-rsh read of a gang on several workers.
  absl::Status WriteGangFiles() const;
  /// Which ranks have not come, and of which worker.
  std::string WhoIsMissing() const;
  absl::Status StartProcesses();
  void Supervise();
  bool MustKill(SteadyTime now);
  std::optional<StopRequest> FindReasonToStop(SteadyTime now);
  std::optional<StopRequest> FindOverdue(SteadyTime now) const;
  void BeginStop(const StopRequest& request, SteadyTime now);
  void Condemn(const StopRequest& request);
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
  const std::shared_ptr<RankContact> contact_;

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
