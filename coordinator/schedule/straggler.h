// Finds running tasks that take much longer than their siblings did. Pure functions.
//
// The layers of a model are alike, so the tasks that align or train them should take the same time for each layer. One
// that takes longer is on a slow worker: a machine that is shared, throttled or swapping. Every later task waits for
// the slowest, so it is worth restarting it on a free worker.
#pragma once

#include <cstddef>
#include <optional>

#include "coordinator/job/job.h"
#include "coordinator/job/time.h"

namespace regroup {

/// A task is slow if it runs for longer than `floor`, and `factor` times as long as its siblings took.
struct StragglerRule {
  /// Below this, a restart costs more than it can save. Zero: no task is ever slow.
  Duration floor = std::chrono::seconds(30);
  int factor = 3;
};

/// Returns the median duration of the finished siblings of an align or layerwise task, scaled to its number of layers:
/// tasks of its kind and its arm in its job. No value for another kind of task, or while fewer than three have
/// finished.
std::optional<Duration> UsualDuration(const Job& job, size_t task);

/// Returns for how long the task has been running.
Duration RunningTime(const Job& job, size_t task, Time now);

/// Returns true if a running task is slow by the rule.
bool IsStraggler(const Job& job, size_t task, const StragglerRule& rule, Time now);

}  // namespace regroup
