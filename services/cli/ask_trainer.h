// Questions about a checkpoint or a job, which only the trainer can answer.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"

namespace regroup {

/// Runs the regroup-trainer beside this program to its end; the JSON that it printed. INVALID_ARGUMENT with its own
/// message where it refuses.
absl::StatusOr<nlohmann::json> AskTrainer(const std::vector<std::string>& arguments);

}  // namespace regroup
