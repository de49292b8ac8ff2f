// A converted model against its source, window by window and item by item. Pure.
#pragma once

#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"

namespace regroup {

/// What one evaluate task wrote.
struct Evaluation {
  /// The task's folder, for messages.
  std::string folder;
  /// Its figures: "perplexity", "multiple_choice", "latency", ...
  nlohmann::ordered_json figures;
  /// {"mean_losses": [one of each window]}; null where perplexity was not measured.
  nlohmann::ordered_json windows;
  /// Scores of every item, by the name of the multiple-choice set.
  std::map<std::string, nlohmann::ordered_json> choices;
};

/// Adds to `subject`, the figures of the converted model, what two evaluations show in pairs: "perplexity_ratio" with
/// its 95 % interval, and a "paired" comparison of each multiple-choice set. Adds nothing for what one of them lacks.
/// DATA_LOSS for scores that are not what an evaluation writes.
absl::Status AddComparison(const Evaluation& source, const Evaluation& own, nlohmann::ordered_json& subject);

}  // namespace regroup
