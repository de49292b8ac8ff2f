// What the report says, gathered from the folders of the job's tasks. The schema is in report.json's "version".
#pragma once

#include <optional>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// The content of report.json: source, averaged, aligned and result figures, seconds of each stage, layers; rows for a
/// sweep.
absl::StatusOr<nlohmann::ordered_json> CollectReport(const StageContext& context, const ModelConfig& config);

/// OUT_OF_RANGE if the job's gates do not allow the result to be published.
absl::Status CheckGates(const v1::Gates& gates, const nlohmann::ordered_json& report);

}  // namespace regroup
