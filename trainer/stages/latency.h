// Measures the decoding speed of source and result in one task, for the report.
#pragma once

#include <functional>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// Checks that the model has positions for every context and the new tokens. INVALID_ARGUMENT says what to write.
absl::Status CheckLatency(const v1::Evaluation::Latency& settings, const ModelConfig& config);

using LoadModel = std::function<absl::StatusOr<Model>()>;

/// The models whose decoding is compared. Each is loaded once, when it is its turn.
struct DecodedModels {
  LoadModel source, result, averaged;
  ModelConfig result_config;
  at::ScalarType dtype = at::kFloat;
};

/// Decodes with source and result in every combination of batch and context. The first combination also runs plainly
/// averaged heads, whose speed shows that alignment itself costs nothing. The models are packed for decoding. On a CPU
/// all three are in memory at once, on a GPU one after the other.
absl::StatusOr<nlohmann::ordered_json> MeasureLatency(StageContext& context, const DecodedModels& models);

}  // namespace regroup
