#include "coordinator/api/served_calls.h"

namespace regroup {
namespace {

/// A job file has a few kilobytes, and no list of it more than a hundred entries.
constexpr RequestLimits kOfUsers = {.bytes = 1 << 20, .entries = 1024};
/// Attempts that run, or figures of a result.
constexpr RequestLimits kOfWorkers = {.bytes = 1 << 20, .entries = 1 << 15};
/// services/worker/logs/log_collector.h sends 1 MiB of lines and 1 MiB of points at a time, at most 20,000 of each.
constexpr RequestLimits kOfLogs = {.bytes = 4 << 20, .entries = 1 << 15};

}  // namespace

void AddCalls(JobService* jobs, ClusterService* cluster, WorkerService* workers, CallGate* gate) {
  gate->Add("JobService/SubmitJob", jobs, &JobService::SubmitJob, kOfUsers);
  gate->Add("JobService/GetJob", jobs, &JobService::GetJob, kOfUsers);
  gate->Add("JobService/ListJobs", jobs, &JobService::ListJobs, kOfUsers);
  gate->Add("JobService/CancelJob", jobs, &JobService::CancelJob, kOfUsers);
  gate->Add("JobService/RetryJob", jobs, &JobService::RetryJob, kOfUsers);
  gate->Add("JobService/PauseJob", jobs, &JobService::PauseJob, kOfUsers);
  gate->Add("JobService/ResumeJob", jobs, &JobService::ResumeJob, kOfUsers);
  gate->Add("JobService/DeleteJob", jobs, &JobService::DeleteJob, kOfUsers);
  gate->Add("JobService/PlanJob", jobs, &JobService::PlanJob, kOfUsers);
  gate->Add("JobService/WatchJob", jobs, &JobService::WatchJob, kOfUsers);
  gate->Add("JobService/StreamLogs", jobs, &JobService::StreamLogs, kOfUsers);
  gate->Add("JobService/StreamMetrics", jobs, &JobService::StreamMetrics, kOfUsers);
  gate->Add("ClusterService/ListWorkers", cluster, &ClusterService::ListWorkers, kOfUsers);
  gate->Add("ClusterService/GetWorker", cluster, &ClusterService::GetWorker, kOfUsers);
  gate->Add("ClusterService/DrainWorker", cluster, &ClusterService::DrainWorker, kOfUsers);
  gate->Add("ClusterService/UndrainWorker", cluster, &ClusterService::UndrainWorker, kOfUsers);
  gate->Add("ClusterService/GetServerInfo", cluster, &ClusterService::GetServerInfo, kOfUsers);
  gate->Add("ClusterService/ListAuditEntries", cluster, &ClusterService::ListAuditEntries, kOfUsers);
  gate->Add("ClusterService/BackupStore", cluster, &ClusterService::BackupStore, kOfUsers);
  gate->Add("WorkerService/RegisterWorker", workers, &WorkerService::RegisterWorker, kOfWorkers);
  gate->Add("WorkerService/Heartbeat", workers, &WorkerService::Heartbeat, kOfWorkers);
  gate->Add("WorkerService/AcquireTask", workers, &WorkerService::AcquireTask, kOfWorkers);
  gate->Add("WorkerService/ReportTask", workers, &WorkerService::ReportTask, kOfWorkers);
  gate->Add("WorkerService/PushLogs", workers, &WorkerService::PushLogs, kOfLogs);
}

}  // namespace regroup
