// Measures the decoding speed of source and result side by side, for the report.
#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// Checks that the model has positions for every context and the new tokens. INVALID_ARGUMENT says what to write.
absl::Status CheckLatency(const v1::Evaluation::Latency& settings, const ModelConfig& config);

/// Decodes with both models in every combination of batch and context. The first combination also runs plainly averaged
/// heads, whose speed shows that alignment itself costs nothing. The models are packed for decoding: release other
/// handles to them if memory is short.
nlohmann::ordered_json MeasureLatency(StageContext& context, Model source, Model result, Model averaged);

}  // namespace regroup
