// WorkerService: the API through which workers register, send heartbeats, get tasks and report.
#pragma once

#include <filesystem>
#include <utility>
#include <vector>

#include "coordinator/api/admission.h"
#include "coordinator/api/log_budget.h"
#include "coordinator/api/own_attempts.h"
#include "coordinator/api/point_budget.h"
#include "coordinator/core/core.h"
#include "regroup/v1/worker_service.grpc.pb.h"

namespace regroup {

/// Most of what is stored of one job.
struct ReportLimits {
  int64_t log_bytes = 0;
  int64_t points = 0;
};

class WorkerService : public v1::WorkerService::CallbackService {
 public:
  /// The objects must outlive the service. Every assignment carries the roots.
  WorkerService(Core* core, CoordinatorMetrics* metrics, Access* access, std::vector<std::filesystem::path> data_roots,
                const ReportLimits& limits)
      : core_(core),
        metrics_(metrics),
        access_(access),
        data_roots_(std::move(data_roots)),
        logs_(limits.log_bytes),
        points_(limits.points) {}

  grpc::ServerUnaryReactor* RegisterWorker(grpc::CallbackServerContext* context,
                                           const v1::RegisterWorkerRequest* request,
                                           v1::RegisterWorkerResponse* response) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context, const v1::HeartbeatRequest* request,
                                      v1::HeartbeatResponse* response) override;
  grpc::ServerUnaryReactor* AcquireTask(grpc::CallbackServerContext* context, const v1::AcquireTaskRequest* request,
                                        v1::AcquireTaskResponse* response) override;
  grpc::ServerUnaryReactor* ReportTask(grpc::CallbackServerContext* context, const v1::ReportTaskRequest* request,
                                       v1::ReportTaskResponse* response) override;
  grpc::ServerUnaryReactor* PushLogs(grpc::CallbackServerContext* context, const v1::PushLogsRequest* request,
                                     v1::PushLogsResponse* response) override;

 private:
  /// Returns the caller if its token allows the call and speaks for the worker in whose name it is made, and if every
  /// string and list of the request is within its bound.
  template <typename Request>
  absl::StatusOr<Caller> AdmitWorker(const grpc::ServerContextBase& context, std::string_view method,
                                     const Request& request);
  void TakeReport(const v1::AttemptReport& report, const std::string& worker, Turn& turn);
  void TakePoints(const v1::AttemptReport& report, Turn& turn);

  Core* const core_;
  CoordinatorMetrics* const metrics_;
  Access* const access_;
  const std::vector<std::filesystem::path> data_roots_;
  // Used by the core thread.
  LogBudget logs_;
  PointBudget points_;
  OwnAttempts attempts_;
};

}  // namespace regroup
