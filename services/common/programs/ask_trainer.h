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

/// The hardware for which a job is planned.
struct PlannedHardware {
  /// Speed of one rank; 0 measures that of this machine's CPU for a second.
  double flops_per_second = 0;
  /// Memory of a GPU; 0 takes that of this machine's.
  double gpu_memory_gib = 0;
  /// True if the job will run on other machines, of which nothing is known.
  bool is_elsewhere = false;
};

/// Returns the plan of a job from its spec with all defaults. The source must lie in one of `data_roots`, unless there
/// is none. Errors: those of AskTrainer and, beyond the limits, of RunToEnd.
absl::StatusOr<v1::JobPlan> AskForPlan(const v1::JobSpec& resolved, const PlannedHardware& hardware,
                                       const std::vector<std::filesystem::path>& data_roots = {},
                                       const RunLimits& limits = {});

}  // namespace regroup
