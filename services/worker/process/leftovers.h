// Ends what a predecessor of this worker that was killed left running.
#pragma once

#include "absl/status/status.h"
#include "services/worker/worker_options.h"

namespace regroup {

/// Kills every process that carries this worker's marker or sits in one of its control groups, and returns when none is
/// left. The caller holds the worker's lock, so none of them can belong to a worker that lives.
absl::Status KillLeftovers(const WorkerOptions& options);

}  // namespace regroup
