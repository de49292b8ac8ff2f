// Many idle workers on one machine: like a real worker, each has its own connection, a heartbeat every second and a
// call that waits for a task.
#pragma once

#include "absl/status/statusor.h"
#include "tests/load/connection.h"
#include "tests/load/open_loop.h"

namespace regroup {

struct HeartbeatLoad {
  int workers = 256;
  double per_worker_second = 1;
  double seconds = 10;
};

absl::StatusOr<LatencyReport> LoadHeartbeats(const LoadOptions& options, const HeartbeatLoad& load);

}  // namespace regroup
