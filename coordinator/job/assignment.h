// Builds the message that gives a task to a worker. Pure functions.
#pragma once

#include "coordinator/job/job.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// Returns the assignment of the current attempt of a RUNNING task. Its inputs are the results of the successful
/// attempts of all tasks it builds on; a sweep's report gets those of every arm, with the arm's index in front of the
/// role.
v1::TaskAssignment MakeAssignment(const Job& job, size_t task, Duration watchdog);

/// Returns the task's current attempt, or the last one if none runs.
v1::AttemptId CurrentAttempt(const Job& job, size_t task);

}  // namespace regroup
