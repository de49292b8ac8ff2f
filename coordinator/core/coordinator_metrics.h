// What the coordinator tells Prometheus: jobs, tasks, workers, calls, and the training of running jobs.
//
// Histograms carry no job; gauges of a job are removed when it ends. Every name stands in
// services/common/metrics/README.md, which a test compares with what a running coordinator serves. May be called from
// any thread.
#pragma once

#include <grpcpp/support/status.h>

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "coordinator/core/job_census.h"
#include "coordinator/schedule/cluster.h"
#include "regroup/v1/job_service.pb.h"
#include "services/common/metrics/metrics.h"

namespace regroup {

class CoordinatorMetrics {
 public:
  CoordinatorMetrics();

  void ObserveCall(std::string_view method, grpc::StatusCode code, double seconds);
  /// A stored change of a job: counts tasks and jobs that ended, and how long they waited.
  void ObserveChange(const std::optional<Job>& before, const Job& after);
  /// The gauges of a job, which it has from its start to its end. After each change, and when it is loaded from the
  /// store.
  void ObserveJob(const Job& job);
  void ObservePoint(const std::string& job, const v1::MetricPoint& point);
  /// Looks at some of the jobs, and shows all figures when it has seen all. Returns whether it did.
  bool ObserveCluster(const Cluster& cluster, Time now);
  void CountDroppedLogs(size_t lines);
  void CountStoreFailure();
  void SetLeader(bool leads);

  Metrics& metrics() { return metrics_; }

 private:
  void DescribeCluster();
  void DescribeJobs();
  void ObserveTask(const std::optional<Job>& before, const Job& after, size_t task);
  void ShowJobs(JobCounts counts, Time now);
  void ObserveWorkers(const Cluster& cluster, Time now);
  /// Sets a gauge that goes when the job ends. Called with the mutex held.
  void SetOfJob(const std::string& job, const std::string& name, double value, const MetricLabels& labels);
  void ForgetJob(const std::string& job);

  Metrics metrics_;
  JobCensus census_;
  std::mutex mutex_;
  /// Gauges of each job that have been set.
  std::map<std::string, std::set<std::pair<std::string, MetricLabels>>> gauges_of_job_;
};

}  // namespace regroup
