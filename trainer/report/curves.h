// The curves of a training for the report, from the lines that its attempts left. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace regroup {

/// `attempts`: what each attempt recorded, the oldest first: one JSON object {"step": ..., "loss": ...} a line. Returns
/// {"loss": [[step, value], ...], "learning_rate": ..., ...} with at most 240 points a curve; where there were more
/// steps, a point is the mean of its neighbours. A step that an attempt repeated after a loss counts once, as the later
/// attempt recorded it. Returns nothing where no step was recorded.
std::optional<nlohmann::ordered_json> TrainingCurves(const std::vector<std::string>& attempts);

}  // namespace regroup
