// The curves of a training for the report, from the files that its attempts left.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// {"loss": [[step, value], ...], "learning_rate": ..., ...}: at most 240 points each, a point being the mean of its
/// neighbours where there were more. Steps that an attempt repeated after a loss count once, as the later attempt had
/// them. Nothing where the input `role` does not exist or has no curves.
absl::StatusOr<std::optional<nlohmann::ordered_json>> ReadCurves(const StageContext& context, const std::string& role);

}  // namespace regroup
