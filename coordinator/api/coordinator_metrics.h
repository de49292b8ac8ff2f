// What the coordinator tells Prometheus: jobs, tasks, workers, calls, and the training of running jobs.
//
// Histograms carry no job; gauges of a job are removed when it ends. May be called from any thread.
#pragma once

#include <grpcpp/support/status.h>

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "coordinator/schedule/cluster.h"
#include "regroup/v1/job_service.pb.h"
#include "services/metrics/metrics.h"

namespace regroup {

class CoordinatorMetrics {
 public:
  CoordinatorMetrics();

  void ObserveCall(std::string_view method, grpc::StatusCode code, double seconds);
  /// A stored change of a job: counts tasks and jobs that ended, and how long they waited.
  void ObserveChange(const std::optional<Job>& before, const Job& after);
  void ObservePoint(const std::string& job, const v1::MetricPoint& point);
  void ObserveCluster(const Cluster& cluster, Time now);
  void CountDroppedLogs(size_t lines);
  void CountStoreFailure();

  Metrics& metrics() { return metrics_; }

 private:
  void ObserveTask(const std::optional<Job>& before, const Job& after, size_t task);
  void ForgetJob(const std::string& job);

  Metrics metrics_;
  std::mutex mutex_;
  /// Gauges of each job that have been set.
  std::map<std::string, std::set<std::string>> gauges_of_job_;
};

}  // namespace regroup
