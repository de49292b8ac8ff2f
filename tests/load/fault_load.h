// Users and workers who go on while a coordinator is killed under them, and then look at what it kept.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "tests/load/connection.h"

namespace regroup {

struct FaultLoadOptions {
  LoadOptions users;
  /// The identity of the workers.
  LoadOptions workers;
  int worker_count = 6;
  int user_count = 3;
  /// Rate of each user.
  double jobs_per_second = 5;
  double cancelled_share = 0.15;
  /// The load ends when this file is there.
  std::string until;
  uint32_t seed = 0;
  std::chrono::seconds patience{120};
};

/// {"acknowledged", "results", "lost", "lost_results", "applied_twice", "violations", "ends", "cancelled"}. UNAVAILABLE
/// or DEADLINE_EXCEEDED where the coordinator does not come back, or its jobs do not end.
absl::StatusOr<nlohmann::json> RunFaultLoad(const FaultLoadOptions& options);

}  // namespace regroup
