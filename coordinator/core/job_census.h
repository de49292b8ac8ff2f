// Counts the unfinished jobs for the metrics, some at a time: counting tens of thousands in one go would delay every
// caller for longer than a commit does. Owned by the core thread.
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
  /// Waiting jobs by the words of Cluster::WaitingKindsOf.
  std::map<std::string_view, int> waiting;
  /// Submission time of the oldest job that has not started; none if all have.
  std::optional<Time> oldest_queued;
};

class JobCensus {
 public:
  /// Counts at most `most` more jobs. Returns the counts once all jobs were counted, each as it was at its turn, and
  /// then starts over.
  std::optional<JobCounts> Continue(const Cluster& cluster, Time now, size_t most);

 private:
  void Count(const Job& job);

  JobCounts counts_;
  /// The last job that was counted.
  std::string last_;
};

}  // namespace regroup
