#include "services/cli/overview_feed.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "services/cli/job_mirror.h"
#include "services/common/base/final_states.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kPauseBetweenLists{2000};
constexpr std::chrono::milliseconds kPauseBeforeAnotherTry{1000};

}  // namespace

JobFollower::JobFollower(const Client& client, const v1::Job& job) : client_(client), name_(job.name()) {
  latest_.job = job;
  watch_ = std::thread([this] { Watch(); });
  points_ = std::thread([this] { ReadPoints(); });
}

JobFollower::~JobFollower() {
  calls_.Stop();
  watch_.join();
  points_.join();
}

OverviewJob JobFollower::Latest() {
  const std::lock_guard lock(mutex_);
  return latest_;
}

void JobFollower::Watch() {
  bool final = false;
  do {
    JobMirror mirror;
    v1::WatchJobRequest request;
    request.set_name(name_);
    OpenCalls::Scope call(calls_);
    // After an error the next stream begins with the whole job.
    client_
        .Read<v1::WatchJobRequest, v1::JobEvent>(&Client::JobStub::WatchJob, call.context(), request,
                                                 [&](const v1::JobEvent& event) {
                                                   mirror.Apply(event);
                                                   final = IsFinalState(mirror.job().state());
                                                   const std::lock_guard lock(mutex_);
                                                   latest_.job = mirror.job();
                                                   return true;
                                                 })
        .IgnoreError();
  } while (!final && calls_.Wait(kPauseBeforeAnotherTry));
}

void JobFollower::ReadPoints() {
  absl::Status status;
  do {
    {
      const std::lock_guard lock(mutex_);
      latest_.curves = {};
    }
    OpenCalls::Scope call(calls_);
    status = client_.Read<v1::StreamMetricsRequest, v1::MetricPoint>(&Client::JobStub::StreamMetrics, call.context(),
                                                                     CurvesRequest(name_, /*follow=*/true),
                                                                     [&](const v1::MetricPoint& point) {
                                                                       const std::lock_guard lock(mutex_);
                                                                       latest_.curves.Add(point);
                                                                       return true;
                                                                     });
    // The stream ends without an error once the job is final.
  } while (!status.ok() && calls_.Wait(kPauseBeforeAnotherTry));
}

OverviewFeed::OverviewFeed(const Client& client, ClusterOverview lists)
    : client_(client), reader_(client, calls_), lists_(std::move(lists)) {
  Follow(lists_);
  thread_ = std::thread([this] { Run(); });
}

OverviewFeed::~OverviewFeed() {
  calls_.Stop();
  thread_.join();
}

void OverviewFeed::Run() {
  while (calls_.Wait(kPauseBetweenLists)) {
    absl::StatusOr<ClusterOverview> lists = reader_.ReadLists();
    if (calls_.IsStopped()) return;
    if (lists.ok()) {
      Follow(*lists);
      AskForTasks(*lists);
    }
    const std::lock_guard lock(mutex_);
    if (lists.ok()) {
      lists_ = *std::move(lists);
    } else {
      lists_.problem = std::string(lists.status().message());
    }
  }
}

/// Follows the first active jobs and no others.
void OverviewFeed::Follow(const ClusterOverview& lists) {
  std::map<std::string, std::shared_ptr<JobFollower>> wanted;
  {
    const std::lock_guard lock(mutex_);
    for (const OverviewJob& shown : lists.jobs) {
      if (!IsActive(shown.job) || wanted.size() == kMostFollowedJobs) break;
      const auto found = followers_.find(shown.job.name());
      wanted[shown.job.name()] = found == followers_.end() ? nullptr : found->second;
    }
    // Those that are no longer wanted end before new ones start, so that the number of streams stays bounded.
    followers_.swap(wanted);
  }
  wanted.clear();
  for (const OverviewJob& shown : lists.jobs) {
    const std::lock_guard lock(mutex_);
    const auto found = followers_.find(shown.job.name());
    if (found == followers_.end() || found->second != nullptr) continue;
    found->second = std::make_shared<JobFollower>(client_, shown.job);
  }
}

/// Asks for the tasks of active jobs that are not followed.
void OverviewFeed::AskForTasks(ClusterOverview& lists) {
  for (size_t i = kMostFollowedJobs; i < std::min(lists.jobs.size(), kMostAskedJobs); ++i) {
    if (!IsActive(lists.jobs[i].job)) return;
    absl::StatusOr<v1::Job> job = reader_.ReadJob(lists.jobs[i].job.name());
    if (job.ok()) lists.jobs[i].job = *std::move(job);
  }
}

ClusterOverview OverviewFeed::Latest() {
  const std::lock_guard lock(mutex_);
  ClusterOverview overview = lists_;
  for (OverviewJob& shown : overview.jobs) {
    const auto found = followers_.find(shown.job.name());
    if (found != followers_.end() && found->second != nullptr) shown = found->second->Latest();
  }
  return overview;
}

}  // namespace regroup
