// Counts the unfinished jobs for the metrics, some at a time: one look at tens of thousands of them would keep every
// caller waiting for longer than a commit does. Owned by the core thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "coordinator/schedule/cluster.h"

namespace regroup {

struct JobCounts {
  std::map<v1::JobState, int> jobs;
  std::map<std::pair<v1::TaskKind, v1::TaskState>, int> tasks;
  /// By the words of Cluster::WaitingKindsOf.
  std::map<std::string_view, int> waiting;
  /// When the first of those that have not started was submitted; none where all have.
  std::optional<Time> oldest_queued;
};

class JobCensus {
 public:
  /// Goes on with at most `most` jobs. The counts once all were looked at, each as it was at its turn; then it begins
  /// anew.
  std::optional<JobCounts> Continue(const Cluster& cluster, Time now, size_t most);

 private:
  void Count(const Job& job);

  JobCounts counts_;
  /// The last job that was counted.
  std::string last_;
};

}  // namespace regroup
