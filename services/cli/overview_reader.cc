#include "services/cli/overview_reader.h"

#include <algorithm>
#include <utility>

#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr int kMostUnfinishedJobs = 200;
constexpr int kMostFinishedJobs = 20;
constexpr int kMostWorkers = 1000;
/// A page may be empty if a filter left many jobs out.
constexpr int kMostPages = 10;

v1::ListJobsRequest Unfinished() {
  v1::ListJobsRequest request;
  for (const v1::JobState state : {v1::JOB_STATE_QUEUED, v1::JOB_STATE_RUNNING, v1::JOB_STATE_RECOVERING,
                                   v1::JOB_STATE_CANCELLING, v1::JOB_STATE_PAUSING, v1::JOB_STATE_PAUSED}) {
    request.add_states(state);
  }
  return request;
}

v1::ListJobsRequest Finished() {
  v1::ListJobsRequest request;
  for (const v1::JobState state : {v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED, v1::JOB_STATE_CANCELLED}) {
    request.add_states(state);
  }
  return request;
}

}  // namespace

v1::StreamMetricsRequest CurvesRequest(const std::string& name, bool follow) {
  v1::StreamMetricsRequest request;
  request.set_name(name);
  for (const char* metric : {"loss", "layer_loss", "tokens_per_second"}) request.add_metrics(metric);
  request.set_follow(follow);
  return request;
}

absl::Status OverviewReader::ReadJobs(const v1::ListJobsRequest& request, int limit, ClusterOverview& overview,
                                      std::vector<v1::Job>& jobs) {
  v1::ListJobsRequest page = request;
  for (int i = 0; i < kMostPages && limit > 0; ++i) {
    page.set_page_size(limit);
    OpenCalls::Scope call(calls_);
    REGROUP_ASSIGN_OR_RETURN(v1::ListJobsResponse list, client_.Call(&Client::JobStub::ListJobs, page, call.context()));
    limit -= list.jobs_size();
    for (v1::Job& job : *list.mutable_jobs()) jobs.push_back(std::move(job));
    page.set_page_token(list.next_page_token());
    if (page.page_token().empty()) return absl::OkStatus();
  }
  overview.has_more_jobs = true;
  return absl::OkStatus();
}

absl::StatusOr<ClusterOverview> OverviewReader::ReadLists() {
  ClusterOverview overview;
  overview.address = client_.address();
  std::vector<v1::Job> jobs;
  REGROUP_RETURN_IF_ERROR(ReadJobs(Unfinished(), kMostUnfinishedJobs, overview, jobs));
  REGROUP_RETURN_IF_ERROR(ReadJobs(Finished(), kMostFinishedJobs, overview, jobs));
  SortForOverview(jobs);
  for (v1::Job& job : jobs) overview.jobs.push_back({std::move(job), {}});
  v1::ListWorkersRequest request;
  request.set_page_size(kMostWorkers);
  OpenCalls::Scope call(calls_);
  REGROUP_ASSIGN_OR_RETURN(v1::ListWorkersResponse list,
                           client_.Call(&Client::ClusterStub::ListWorkers, request, call.context()));
  overview.has_more_workers = !list.next_page_token().empty();
  for (v1::Worker& worker : *list.mutable_workers()) overview.workers.push_back(std::move(worker));
  return overview;
}

absl::StatusOr<v1::Job> OverviewReader::ReadJob(const std::string& name) {
  v1::GetJobRequest request;
  request.set_name(name);
  OpenCalls::Scope call(calls_);
  return client_.Call(&Client::JobStub::GetJob, request, call.context());
}

absl::StatusOr<JobCurves> OverviewReader::ReadCurves(const std::string& name) {
  JobCurves curves;
  OpenCalls::Scope call(calls_);
  REGROUP_RETURN_IF_ERROR((client_.Read<v1::StreamMetricsRequest, v1::MetricPoint>(
      &Client::JobStub::StreamMetrics, call.context(), CurvesRequest(name, /*follow=*/false),
      [&](const v1::MetricPoint& point) {
        curves.Add(point);
        return true;
      })));
  return curves;
}

absl::StatusOr<ClusterOverview> OverviewReader::ReadAll() {
  REGROUP_ASSIGN_OR_RETURN(ClusterOverview overview, ReadLists());
  for (size_t i = 0; i < std::min(overview.jobs.size(), kMostAskedJobs); ++i) {
    OverviewJob& shown = overview.jobs[i];
    if (!IsActive(shown.job)) break;
    absl::StatusOr<v1::Job> job = ReadJob(shown.job.name());
    // Somebody may have deleted it since.
    if (absl::IsNotFound(job.status())) continue;
    REGROUP_RETURN_IF_ERROR(job.status());
    shown.job = *std::move(job);
    if (i >= kMostFollowedJobs) continue;
    absl::StatusOr<JobCurves> curves = ReadCurves(shown.job.name());
    if (absl::IsNotFound(curves.status())) continue;
    REGROUP_RETURN_IF_ERROR(curves.status());
    shown.curves = *std::move(curves);
  }
  return overview;
}

}  // namespace regroup
