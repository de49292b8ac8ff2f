// Compares a converted model with its source, window by window and item by item. Pure.
#pragma once

#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"

namespace regroup {

/// Results of one evaluate task.
struct Evaluation {
  /// The task's folder, for messages.
  std::string folder;
  /// The task's figures: "perplexity", "multiple_choice", "latency", ...
  nlohmann::ordered_json figures;
  /// {"mean_losses": [one per window]}; null if perplexity was not measured.
  nlohmann::ordered_json windows;
  /// Scores of every item, by the name of the multiple-choice set.
  std::map<std::string, nlohmann::ordered_json> choices;
};

/// Adds paired comparisons of two evaluations to `subject`, the figures of the converted model: "perplexity_ratio" with
/// its 95 % interval, and a "paired" comparison of each multiple-choice set. Skips measures that one of them lacks.
/// DATA_LOSS for scores that do not have the form that an evaluation writes.
absl::Status AddComparison(const Evaluation& source, const Evaluation& own, nlohmann::ordered_json& subject);

}  // namespace regroup
