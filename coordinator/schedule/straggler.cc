#include "coordinator/schedule/straggler.h"

#include <algorithm>
#include <vector>

namespace regroup {
namespace {

/// With fewer, a single short task would distort the median.
constexpr size_t kFewestSiblings = 3;

/// The last block of layers may be shorter than the others.
int LayersOf(const v1::Task& task) { return std::max(1, task.layers()); }

/// Returns the time that each finished sibling took for one layer.
std::vector<Duration> DurationsOfSiblings(const Job& job, const v1::Task& task) {
  std::vector<Duration> durations;
  for (size_t position = 0; position < job.task_count(); ++position) {
    const v1::Task& other = job.task(position);
    const bool is_sibling = other.kind() == task.kind() && other.arm() == task.arm();
    if (!is_sibling || other.state() != v1::TASK_STATE_SUCCEEDED) continue;
    durations.push_back(job.record().retries[position].took / LayersOf(other));
  }
  return durations;
}

}  // namespace

std::optional<Duration> UsualDuration(const Job& job, size_t task) {
  const v1::TaskKind kind = job.task(task).kind();
  if (kind != v1::TASK_KIND_ALIGN && kind != v1::TASK_KIND_LAYERWISE) return std::nullopt;
  std::vector<Duration> durations = DurationsOfSiblings(job, job.task(task));
  if (durations.size() < kFewestSiblings) return std::nullopt;
  const auto middle = durations.begin() + static_cast<std::ptrdiff_t>(durations.size() / 2);
  std::nth_element(durations.begin(), middle, durations.end());
  return *middle * LayersOf(job.task(task));
}

Duration RunningTime(const Job& job, size_t task, Time now) { return now - job.record().retries[task].started; }

bool IsStraggler(const Job& job, size_t task, const StragglerRule& rule, Time now) {
  const Duration running_time = RunningTime(job, task, now);
  if (rule.floor <= Duration(0) || running_time <= rule.floor) return false;
  const std::optional<Duration> usual = UsualDuration(job, task);
  return usual && running_time > rule.factor * *usual;
}

}  // namespace regroup
