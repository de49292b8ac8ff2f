// JobService: the API for people and programs that convert models.
//
// Changes go through the core thread; lists and streams read the store. No call holds a thread while it waits.
#pragma once

#include <functional>

#include "coordinator/api/admission.h"
#include "coordinator/api/job_planner.h"
#include "coordinator/api/stream_pump.h"
#include "coordinator/core/core.h"
#include "regroup/v1/job_service.grpc.pb.h"
#include "services/common/job_file/allowed_paths.h"

namespace regroup {

class JobService : public v1::JobService::CallbackService {
 public:
  /// All five objects must outlive the service.
  JobService(Core* core, JobStore* store, JobFeeds* feeds, StreamPump* pump, Access* access, AllowedPaths allowed_paths,
             const PlanLimits& plans)
      : core_(core),
        store_(store),
        feeds_(feeds),
        pump_(pump),
        access_(access),
        allowed_paths_(std::move(allowed_paths)),
        planner_(plans, allowed_paths_.data_roots) {}

  /// Ends plans that run or wait, now and later.
  void EndPlans() { planner_.Stop(); }

  grpc::ServerUnaryReactor* SubmitJob(grpc::CallbackServerContext* context, const v1::SubmitJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
                                   v1::Job* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* context, const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* context, const v1::CancelJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* RetryJob(grpc::CallbackServerContext* context, const v1::RetryJobRequest* request,
                                     v1::Job* response) override;
  grpc::ServerUnaryReactor* PauseJob(grpc::CallbackServerContext* context, const v1::PauseJobRequest* request,
                                     v1::Job* response) override;
  grpc::ServerUnaryReactor* ResumeJob(grpc::CallbackServerContext* context, const v1::ResumeJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerUnaryReactor* DeleteJob(grpc::CallbackServerContext* context, const v1::DeleteJobRequest* request,
                                      google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* PlanJob(grpc::CallbackServerContext* context, const v1::PlanJobRequest* request,
                                    v1::PlanJobResponse* response) override;
  grpc::ServerWriteReactor<v1::JobEvent>* WatchJob(grpc::CallbackServerContext* context,
                                                   const v1::WatchJobRequest* request) override;
  grpc::ServerWriteReactor<v1::LogEntry>* StreamLogs(grpc::CallbackServerContext* context,
                                                     const v1::StreamLogsRequest* request) override;
  grpc::ServerWriteReactor<v1::MetricPoint>* StreamMetrics(grpc::CallbackServerContext* context,
                                                           const v1::StreamMetricsRequest* request) override;

 private:
  /// Applies a change to the job called `name` and answers with the changed job.
  grpc::ServerUnaryReactor* ChangeJob(grpc::CallbackServerContext* context, std::string_view method,
                                      const std::string& name,
                                      absl::Status (*change)(const std::string& job, Turn& turn), v1::Job* response);

  /// Admits a stream about a job that the caller may see.
  absl::StatusOr<Admission> AdmitStream(const grpc::CallbackServerContext& context, std::string_view method,
                                        const std::string& name);

  template <typename Message>
  grpc::ServerWriteReactor<Message>* StartStream(grpc::CallbackServerContext& context, const Admission& admission,
                                                 std::unique_ptr<StreamSource<Message>> source);

  Core* const core_;
  JobStore* const store_;
  JobFeeds* const feeds_;
  StreamPump* const pump_;
  Access* const access_;
  const AllowedPaths allowed_paths_;
  JobPlanner planner_;
};

}  // namespace regroup
