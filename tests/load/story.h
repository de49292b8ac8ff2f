// One user and one worker that take jobs through every state, step by step, and repeat each step until it is answered,
// for a coordinator that may be killed at any of its durable writes.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "tests/load/connection.h"

namespace regroup {

struct StoryOptions {
  LoadOptions users;
  LoadOptions workers;
  /// This file always holds the name of the current step.
  std::string step_file;
};

/// Returns what RunFaultLoad returns, and "steps" with all their names. An error names the step whose answer was wrong.
absl::StatusOr<nlohmann::json> TellStory(const StoryOptions& options);

}  // namespace regroup
