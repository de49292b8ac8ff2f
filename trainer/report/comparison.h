// A converted model against its source, window by window and item by item.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// Adds to `subject` what the files of two evaluations show in pairs: "perplexity_ratio" with its 95 % interval, and a
/// "paired" comparison of each multiple-choice set. Adds nothing for what one of them lacks. DATA_LOSS for a file that
/// is not what its evaluation wrote.
absl::Status AddComparison(const StageContext& context, const std::string& source_role, const std::string& role,
                           nlohmann::ordered_json& subject);

}  // namespace regroup
