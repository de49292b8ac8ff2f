// The coordinator's Prometheus metrics: jobs, tasks, workers, calls, and the training of running jobs.
//
// Histograms have no job label; the gauges of a job are removed when it ends. services/common/metrics/README.md lists
// every name, and a test compares the list with what a running coordinator serves. May be called from any thread.
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
  /// Records a stored change of a job: counts the tasks and jobs that ended, and how long they waited.
  void ObserveChange(const std::optional<Job>& before, const Job& after);
  /// Sets the gauges of a job, which exist from its start to its end. Call after each change, and when the job is
  /// loaded from the store.
  void ObserveJob(const Job& job);
  /// Sets the gauge of a pushed point. Points may arrive after their task's end, but not after the job's.
  void ObservePoint(const Job& job, const v1::MetricPoint& point);
  /// Counts some of the jobs, and publishes all figures once every job was counted. Returns true if it published.
  bool ObserveCluster(const Cluster& cluster, Time now);
  void CountDroppedLogs(size_t lines);
  void CountDroppedPoints(size_t points);
  void CountStoreFailure();
  void SetLeader(bool leads);
  void SetTokensReadable(bool readable);
  void SetQuotasReadable(bool readable);
  /// Starts the counters of a webhook at 0, so that rules see its first failure as an increase.
  void AddWebhook(const std::string& hook);
  /// Counts an attempt to deliver an event to a webhook; the outcome is delivered, failed or dropped.
  void CountDelivery(const std::string& hook, const char* outcome);
  /// Without a time nothing expires.
  void SetCertificates(bool usable, std::optional<std::chrono::system_clock::time_point> expiry);

  Metrics& metrics() { return metrics_; }

 private:
  void DescribeCluster();
  void DescribeJobs();
  void ObserveTask(const std::optional<Job>& before, const Job& after, size_t task);
  void ShowJobs(JobCounts counts, Time now);
  void ObserveWorkers(const Cluster& cluster, Time now);
  /// Sets a gauge that is removed when the job ends. Called with the mutex held.
  void SetOfJob(const std::string& job, const std::string& name, double value, const MetricLabels& labels);
  /// Removes the times of a task that has ended: it neither stalls nor waits.
  void ForgetTimesOf(const std::string& job, const std::string& task);
  void ForgetJob(const std::string& job);

  Metrics metrics_;
  JobCensus census_;
  std::mutex mutex_;
  /// Gauges that are set, by job.
  std::map<std::string, std::set<std::pair<std::string, MetricLabels>>> gauges_of_job_;
};

}  // namespace regroup
