// The colours of states, which are the same in every view. Pure.
#pragma once

#include "regroup/v1/cluster_service.pb.h"
#include "regroup/v1/job.pb.h"
#include "services/cli/terminal.h"

namespace regroup {

inline Colour ColourOf(v1::JobState state) {
  switch (state) {
    case v1::JOB_STATE_SUCCEEDED:
      return Colour::kGreen;
    case v1::JOB_STATE_FAILED:
      return Colour::kRed;
    case v1::JOB_STATE_RUNNING:
      return Colour::kCyan;
    case v1::JOB_STATE_QUEUED:
      return Colour::kDim;
    default:
      return Colour::kYellow;
  }
}

inline Colour ColourOf(v1::TaskState state) {
  switch (state) {
    case v1::TASK_STATE_SUCCEEDED:
      return Colour::kGreen;
    case v1::TASK_STATE_FAILED:
      return Colour::kRed;
    case v1::TASK_STATE_RUNNING:
      return Colour::kCyan;
    default:
      return Colour::kDim;
  }
}

inline Colour ColourOf(v1::WorkerState state) {
  switch (state) {
    case v1::WORKER_STATE_LOST:
      return Colour::kRed;
    case v1::WORKER_STATE_DRAINING:
      return Colour::kYellow;
    default:
      return Colour::kGreen;
  }
}

}  // namespace regroup
