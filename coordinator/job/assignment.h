// What a worker is told when it gets a task. Pure.
#pragma once

#include "coordinator/job/job.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// The assignment of the current attempt of a RUNNING task. Its inputs are the results of the successful attempts of
/// everything the task builds on; a sweep's report gets those of every arm, with the arm's index in front of the role.
v1::TaskAssignment MakeAssignment(const Job& job, size_t task, Duration watchdog);

/// The attempt that runs now, or ran last.
v1::AttemptId CurrentAttempt(const Job& job, size_t task);

}  // namespace regroup
