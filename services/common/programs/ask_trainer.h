// Asks the trainer about a checkpoint or a job.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "regroup/v1/job.pb.h"
#include "regroup/v1/plan.pb.h"
#include "services/common/programs/child_process.h"

namespace regroup {

/// Runs the regroup-trainer beside this program to its end and returns the JSON that it printed. INVALID_ARGUMENT with
/// the trainer's message if it rejects the request.
absl::StatusOr<nlohmann::json> AskTrainer(const std::vector<std::string>& arguments);

/// Returns the plan of a job from its spec with all defaults. `flops_per_second` is the speed of one rank, or 0 to
/// measure this machine's for a second. The source must lie in one of `data_roots`, unless there is none. Errors: those
/// of AskTrainer and, beyond the limits, of RunToEnd.
absl::StatusOr<v1::JobPlan> AskForPlan(const v1::JobSpec& resolved, double flops_per_second,
                                       const std::vector<std::filesystem::path>& data_roots = {},
                                       const RunLimits& limits = {});

}  // namespace regroup
