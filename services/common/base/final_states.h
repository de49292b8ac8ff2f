// Tells whether the state of a job or a task is final. Pure functions, for any thread.
#pragma once

#include "regroup/v1/job.pb.h"

namespace regroup {

constexpr bool IsFinalState(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_CANCELLED;
}

constexpr bool IsFinalState(v1::TaskState state) {
  return state == v1::TASK_STATE_SUCCEEDED || state == v1::TASK_STATE_FAILED || state == v1::TASK_STATE_CANCELLED;
}

}  // namespace regroup
