#include "coordinator/core/job_census.h"

#include <algorithm>
#include <vector>

namespace regroup {

std::optional<JobCounts> JobCensus::Continue(const Cluster& cluster, Time now, size_t most) {
  std::vector<const Job*> looked_at;
  auto entry = cluster.jobs().after(last_);
  for (; entry != cluster.jobs().end() && looked_at.size() < most; ++entry) {
    looked_at.push_back(&entry->second);
    Count(entry->second);
    last_ = entry->first;
  }
  for (const std::string_view kind : cluster.WaitingKindsOf(looked_at, now)) {
    if (!kind.empty()) ++counts_.waiting[kind];
  }
  if (entry != cluster.jobs().end()) return std::nullopt;
  last_.clear();
  return std::exchange(counts_, {});
}

void JobCensus::Count(const Job& job) {
  ++counts_.jobs[job.proto().state()];
  for (const v1::Task& task : job.proto().tasks()) ++counts_.tasks[{task.kind(), task.state()}];
  if (job.proto().state() != v1::JOB_STATE_QUEUED) return;
  const Time submitted = FromProto(job.proto().create_time());
  counts_.oldest_queued = std::min(counts_.oldest_queued.value_or(submitted), submitted);
}

}  // namespace regroup
