// A worker's calls to its coordinator. Thread-safe; each call blocks its thread, and CancelAcquire ends the Acquire
// calls in progress.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/worker_service.grpc.pb.h"
#include "services/worker/attempt_key.h"

namespace regroup {

/// Sent with every request of the worker.
struct WorkerIdentity {
  std::string id;
  /// Distinguishes this process from its predecessors with the same id.
  uint64_t incarnation = 0;
};

/// Holds what the coordinator learns of the worker when it registers.
struct WorkerDescription {
  int slots = 1;
  std::string device;
  std::string device_name;
  std::string host;
  std::string version;
  /// Empty if the worker takes no part in gangs over several workers.
  std::string gang_address;
};

class CoordinatorLink {
 public:
  CoordinatorLink(std::shared_ptr<grpc::Channel> channel, WorkerIdentity identity);

  absl::StatusOr<v1::RegisterWorkerResponse> Register(const WorkerDescription& worker,
                                                      const std::vector<AttemptKey>& running,
                                                      std::chrono::milliseconds patience);
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const std::vector<AttemptKey>& running,
                                                  std::chrono::milliseconds patience);
  /// Returns nothing if there was no task for `wait`.
  absl::StatusOr<std::optional<v1::TaskAssignment>> Acquire(int free_slots, std::chrono::milliseconds wait);
  absl::Status AskToPublish(const AttemptKey& attempt);
  absl::Status ReportOutcome(const AttemptKey& attempt, const v1::TaskOutcome& outcome);
  absl::Status PushLogs(const v1::AttemptReport& report);

  /// Ends all Acquire calls, present and future: the worker is stopping.
  void CancelAcquire();

 private:
  template <typename Request>
  Request NewRequest() const;
  absl::Status Report(const AttemptKey& attempt, v1::ReportTaskRequest request);
  bool TrackAcquire(grpc::ClientContext* context);
  void ForgetAcquire(grpc::ClientContext* context);

  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  const WorkerIdentity identity_;

  std::mutex mutex_;
  std::set<grpc::ClientContext*> acquiring_;
  bool cancelled_ = false;
};

}  // namespace regroup
