// Reads what `regroup top` shows, by calls that end with their own answer. May be used from one thread at a time.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "services/cli/client.h"
#include "services/cli/cluster_overview.h"
#include "services/cli/open_calls.h"

namespace regroup {

/// Jobs whose curves are read; with a stream for changes and one for points each, `top` holds twice as many streams.
inline constexpr size_t kMostFollowedJobs = 8;
/// Active jobs for whose tasks a call is made.
inline constexpr size_t kMostAskedJobs = 40;

class OverviewReader {
 public:
  /// Both must outlive the reader.
  OverviewReader(const Client& client, OpenCalls& calls) : client_(client), calls_(calls) {}

  /// Returns jobs without their tasks and curves, and workers. Reads a bounded number of pages.
  absl::StatusOr<ClusterOverview> ReadLists();

  /// Returns a job with its tasks.
  absl::StatusOr<v1::Job> ReadJob(const std::string& name);

  /// Returns the points that a job's curves have so far.
  absl::StatusOr<JobCurves> ReadCurves(const std::string& name);

  /// Returns the lists with the tasks of active jobs, and the curves of the first of them.
  absl::StatusOr<ClusterOverview> ReadAll();

 private:
  absl::Status ReadJobs(const v1::ListJobsRequest& request, int limit, ClusterOverview& overview,
                        std::vector<v1::Job>& jobs);

  const Client& client_;
  OpenCalls& calls_;
};

/// Returns the request for the curves that are shown.
v1::StreamMetricsRequest CurvesRequest(const std::string& name, bool follow);

}  // namespace regroup
