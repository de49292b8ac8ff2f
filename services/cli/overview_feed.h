// Keeps what `regroup top` shows up to date in the background: lists are read every two seconds, and the first active
// jobs are followed by streams. At most 2 x kMostFollowedJobs streams are open at once.
//
// Latest() may be called from any thread. The destructor cancels all calls and joins all threads.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "services/cli/client.h"
#include "services/cli/cluster_overview.h"
#include "services/cli/open_calls.h"
#include "services/cli/overview_reader.h"

namespace regroup {

/// Follows one job by a stream of its changes and one of its points, until it is final or the follower is destroyed.
class JobFollower {
 public:
  /// The client must outlive the follower.
  JobFollower(const Client& client, const v1::Job& job);
  ~JobFollower();

  JobFollower(const JobFollower&) = delete;
  JobFollower& operator=(const JobFollower&) = delete;

  OverviewJob Latest();

 private:
  void Watch();
  void ReadPoints();

  const Client& client_;
  const std::string name_;
  OpenCalls calls_;
  std::mutex mutex_;
  /// Guarded by `mutex_`.
  OverviewJob latest_;
  std::thread watch_;
  std::thread points_;
};

class OverviewFeed {
 public:
  /// Starts with lists that were just read. The client must outlive the feed.
  OverviewFeed(const Client& client, ClusterOverview lists);
  ~OverviewFeed();

  OverviewFeed(const OverviewFeed&) = delete;
  OverviewFeed& operator=(const OverviewFeed&) = delete;

  ClusterOverview Latest();

 private:
  void Run();
  void Follow(const ClusterOverview& lists);
  void AskForTasks(ClusterOverview& lists);

  const Client& client_;
  OpenCalls calls_;
  OverviewReader reader_;
  std::mutex mutex_;
  /// Both guarded by `mutex_`; followers by the jobs' names.
  ClusterOverview lists_;
  std::map<std::string, std::shared_ptr<JobFollower>> followers_;
  std::thread thread_;
};

}  // namespace regroup
