// This worker's part of a gang that another worker leads: it holds the slots, starts Open MPI's daemon when the lead
// asks, relays what the ranks say, and ends everything when the lead's call ends.
//
// How the attempt ended is the lead's to tell; the outcome of this part is empty.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "services/worker/attempt/attempt.h"
#include "services/worker/logs/rank_logs.h"
#include "services/worker/process/process_group.h"

namespace regroup {

class GangHelperAttempt : public Attempt {
 public:
  GangHelperAttempt(v1::TaskAssignment assignment, std::string visible_devices, const AttemptServices* services,
                    EndCallback on_end);
  ~GangHelperAttempt() override;

  const AttemptKey& key() const override { return key_; }
  int ranks() const override { return RanksHere(assignment_); }
  const std::shared_ptr<LogCollector>& collector() const override { return collector_; }
  void RequestStop(StopRequest request) override;
  void WaitForEnd() override;
  const std::string& gang_token() const override { return assignment_.gang().token(); }
  absl::Status StartDaemon(std::shared_ptr<DaemonRun> run) override;

 private:
  void Run(const EndCallback& on_end);
  bool WaitForCall();
  v1::DaemonExit RunDaemon();
  absl::Status StartProcesses();
  void Supervise();
  bool MustKill(SteadyTime now);
  void Forward();

  const v1::TaskAssignment assignment_;
  const AttemptKey key_;
  const std::string visible_devices_;
  const AttemptServices* const services_;
  const int number_;
  const std::filesystem::path temporary_folder_;
  const std::shared_ptr<LogCollector> collector_;

  // The attempt's thread alone.
  std::filesystem::path shared_memory_folder_;
  std::optional<LogFileTail> stdout_;
  std::optional<LogFileTail> stderr_;
  std::optional<SteadyTime> kill_time_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<ProcessGroup> processes_;
  std::optional<StopRequest> stop_request_;
  std::shared_ptr<DaemonRun> run_;
  bool ended_ = false;

  std::thread thread_;
};

}  // namespace regroup
