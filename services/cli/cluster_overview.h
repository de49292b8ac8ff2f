// The table of `regroup top`: jobs with their progress and curves, and workers. Pure.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "regroup/v1/cluster_service.pb.h"
#include "regroup/v1/job_service.pb.h"
#include "services/cli/stage_summary.h"

namespace regroup {

/// The last points of a job's training curves. Bounded in points and in curves, of which the oldest is dropped first.
class JobCurves {
 public:
  void Add(const v1::MetricPoint& point);

  /// Returns the last values of a metric of one task, oldest first.
  std::vector<double> Values(const std::string& task, const std::string& metric) const;

 private:
  /// Task and metric.
  using Key = std::pair<std::string, std::string>;
  std::map<Key, std::deque<double>> points_;
  /// The keys of `points_`, in the order of their first points.
  std::deque<Key> oldest_first_;
};

struct OverviewJob {
  /// With its tasks if it was asked about alone.
  v1::Job job;
  JobCurves curves;
};

struct ClusterOverview {
  std::string address;
  /// Running jobs first, then those that wait, then the newest of those that ended.
  std::vector<OverviewJob> jobs;
  /// More jobs exist than `jobs` has.
  bool has_more_jobs = false;
  std::vector<v1::Worker> workers;
  bool has_more_workers = false;
  /// Why the figures are not up to date; empty if they are.
  std::string problem;
};

/// One row of the table of jobs.
struct OverviewRow {
  std::string job;
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  /// The stage that runs; unset if none does or if the tasks are not known.
  std::optional<StageSummary> stage;
  /// Why it waits or why it failed.
  std::string note;
  double elapsed_s = 0;
  std::vector<double> losses;
  std::vector<double> speeds;
};

OverviewRow RowOf(const OverviewJob& job, double now_s);

/// Returns true for a job that holds slots or is about to end.
bool IsActive(const v1::Job& job);

/// Sorts jobs for the table: active, waiting, ended; within these the newest first.
void SortForOverview(std::vector<v1::Job>& jobs);

/// Returns the figures of the table as JSON.
nlohmann::json OverviewJson(const ClusterOverview& overview, double now_s);

}  // namespace regroup
