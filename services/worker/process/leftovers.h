// Kills the processes that a killed predecessor of this worker left running.
#pragma once

#include "absl/status/status.h"
#include "services/worker/worker_options.h"

namespace regroup {

/// Kills every process that carries this worker's marker or is in one of its control groups, and returns when none is
/// left. The caller holds the worker's lock, so none of them can belong to a running worker.
absl::Status KillLeftovers(const WorkerOptions& options);

}  // namespace regroup
