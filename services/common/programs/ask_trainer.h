// Questions about a checkpoint or a job, which only the trainer can answer.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "regroup/v1/job.pb.h"
#include "regroup/v1/plan.pb.h"

namespace regroup {

/// Runs the regroup-trainer beside this program to its end and returns the JSON that it printed. INVALID_ARGUMENT with
/// its own message where it refuses.
absl::StatusOr<nlohmann::json> AskTrainer(const std::vector<std::string>& arguments);

/// Returns what a job would need, from its spec with all defaults. `flops_per_second`: of one rank, or 0 to measure
/// this machine's for a second. Errors: those of AskTrainer.
absl::StatusOr<v1::JobPlan> AskForPlan(const v1::JobSpec& resolved, double flops_per_second);

}  // namespace regroup
