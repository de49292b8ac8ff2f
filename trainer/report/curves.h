// Computes the training curves of the report from the lines that the attempts recorded. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace regroup {

/// `attempts` holds the records of each attempt, the oldest first: one JSON object {"step": ..., "loss": ...} per line.
/// Returns {"loss": [[step, value], ...], "learning_rate": ..., ...} with at most 240 points per curve; if there are
/// more steps, a point is the mean of its neighbours. A step that was repeated after a failure counts once, as the
/// later attempt recorded it. Returns nullopt if no step was recorded.
std::optional<nlohmann::ordered_json> TrainingCurves(const std::vector<std::string>& attempts);

/// Returns the last step of a curve and its value there; nullopt if there is none.
std::optional<std::pair<int64_t, double>> LastPoint(const std::vector<std::string>& attempts, const std::string& name);

}  // namespace regroup
