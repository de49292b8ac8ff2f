// Speed of source and result beside one another, for the report.
#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// Whether the model has positions for every context and the new tokens. INVALID_ARGUMENT says what to write.
absl::Status CheckLatency(const v1::Evaluation::Latency& settings, const ModelConfig& config);

/// Decodes with both models in every combination of batch and context, and in the first one also with plainly averaged
/// heads, whose speed shows that alignment itself costs nothing.
/// The models are laid out anew for decoding: give up other handles of them where memory is short.
nlohmann::ordered_json MeasureLatency(StageContext& context, Model source, Model result, Model averaged);

}  // namespace regroup
