// Users and workers that keep working while their coordinator is killed, and then check what it kept.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "tests/load/connection.h"

namespace regroup {

struct FaultLoadOptions {
  LoadOptions users;
  /// The connection and identity of the workers.
  LoadOptions workers;
  int worker_count = 6;
  int user_count = 3;
  /// Rate of each user.
  double jobs_per_second = 5;
  double cancelled_share = 0.15;
  /// The load ends when this file exists.
  std::string until;
  uint32_t seed = 0;
  std::chrono::seconds patience{120};
};

/// {"acknowledged", "results", "lost", "lost_results", "applied_twice", "violations", "ends", "cancelled"}. UNAVAILABLE
/// or DEADLINE_EXCEEDED if the coordinator does not come back, or its jobs do not end.
absl::StatusOr<nlohmann::json> RunFaultLoad(const FaultLoadOptions& options);

}  // namespace regroup
