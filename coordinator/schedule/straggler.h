// Which running tasks take much longer than their siblings did. Pure.
//
// The layers of a model are alike, so the tasks that align them should take the same time. One that does not sits on a
// slow worker: a machine that is shared, throttled or swapping. Everything after it waits for the slowest, so it is
// worth starting it once more where there is room.
#pragma once

#include <cstddef>
#include <optional>

#include "coordinator/job/job.h"
#include "coordinator/job/time.h"

namespace regroup {

/// When a task counts as slow: it runs for longer than `floor`, and `factor` times as long as its siblings took.
struct StragglerRule {
  /// Below it, starting again costs more than it can save. Zero: no task ever counts as slow.
  Duration floor = std::chrono::seconds(30);
  int factor = 3;
};

/// The median duration of the finished siblings of an align task: tasks of its kind and its arm in its job. No value
/// for another kind of task, and before three of them are finished.
std::optional<Duration> UsualDuration(const Job& job, size_t task);

/// For how long the task runs already.
Duration RunningTime(const Job& job, size_t task, Time now);

/// Whether a running task is slow by the rule.
bool IsStraggler(const Job& job, size_t task, const StragglerRule& rule, Time now);

}  // namespace regroup
