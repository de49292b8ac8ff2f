// The worker daemon as a whole: its parts, the order in which they start, and how they stop.
//
// Threads: LeaseKeeper (registration, heartbeats, lease), two of TaskAcquirer, LogPusher, OutcomeReporter, one for each
// attempt, and gRPC's for the ranks. Start and Stop are called from one thread, main's.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/status/statusor.h"
#include "services/common/base/change_signal.h"
#include "services/worker/attempt/attempt_table.h"
#include "services/worker/attempt/trainer_server.h"
#include "services/worker/coordinator_link.h"
#include "services/worker/gang_server.h"
#include "services/worker/lease_keeper.h"
#include "services/worker/log_pusher.h"
#include "services/worker/outcome_reporter.h"
#include "services/worker/task_acquirer.h"
#include "services/worker/worker_lock.h"
#include "services/worker/worker_options.h"

namespace regroup {

class Worker {
 public:
  /// Kills the processes that a predecessor left, then begins to work. The coordinator need not be reachable yet.
  static absl::StatusOr<std::unique_ptr<Worker>> Start(const WorkerOptions& options,
                                                       std::shared_ptr<grpc::Channel> channel);
  /// Calls Stop if it was not called.
  ~Worker();

  /// Stops all attempts, with SIGTERM first, and reports their outcomes if the coordinator can be reached.
  void Stop();

 private:
  Worker(const WorkerOptions& options, WorkerLock lock) : lock_(std::move(lock)) { services_.options = options; }

  absl::Status StartTrainerServer(const std::filesystem::path& folder);
  void StartReporting(std::shared_ptr<grpc::Channel> channel);
  absl::Status StartGangServer();
  void StartAsking();
  WorkerDescription Describe() const;

  // In the order of their creation. Shutdown stops the threads that use members below their own, before any is
  // destroyed.
  WorkerLock lock_;
  AttemptServices services_;
  LeaseEnd lease_end_;
  LogCollectors collectors_;
  /// Notified when slots become free or the keeper's permission changes.
  ChangeSignal may_ask_;
  std::unique_ptr<TrainerServer> trainer_server_;
  std::unique_ptr<CoordinatorLink> link_;
  std::unique_ptr<LogPusher> pusher_;
  std::unique_ptr<OutcomeReporter> reporter_;
  std::unique_ptr<AttemptTable> table_;
  std::unique_ptr<GangServer> gang_server_;
  std::unique_ptr<LeaseKeeper> keeper_;
  std::unique_ptr<TaskAcquirer> acquirer_;
};

}  // namespace regroup
