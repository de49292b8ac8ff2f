// Keeps what the outcomes of a job's tasks say for its users and its report. Every change of a job is stored with all
// of it, so it is bounded. Pure.
#pragma once

#include "regroup/v1/job.pb.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// Adds an outcome's figures, up to 10,000 in all, and the warnings that the job does not have yet, up to 16 KiB in
/// all: a task that runs again repeats its warnings. What does not fit is left out.
void KeepOutcome(const v1::TaskOutcome& outcome, v1::Job* job);

}  // namespace regroup
