// Races a cancellation against the end of a job: one of the two wins, and all callers get the same result.
#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "tests/load/connection.h"

namespace regroup {

struct CancelRace {
  int rounds = 100;
  uint32_t seed = 0;
};

/// Returns {"rounds", "succeeded", "cancelled", "violations"}. Needs a coordinator without other jobs and workers.
absl::StatusOr<nlohmann::json> RaceCancel(const LoadOptions& users, const LoadOptions& workers, const CancelRace& race);

}  // namespace regroup
