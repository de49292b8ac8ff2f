// Collects the report's data from the folders of the job's tasks.
#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/nn/model_config.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// Returns the content of report.json (see trainer/report/data.h). `config` is the source's. INTERNAL if an input is
/// missing, DATA_LOSS for a file that is not what its task writes.
absl::StatusOr<nlohmann::ordered_json> CollectReport(const StageContext& context, const ModelConfig& config);

}  // namespace regroup
