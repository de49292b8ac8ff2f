// Compares preprocessor_config.json with the spectrogram that Regroup computes for a model. Any thread.
#pragma once

#include <filesystem>

#include "absl/status/status.h"
#include "trainer/nn/model_config.h"

namespace regroup {

/// Returns OK for a folder without preprocessor_config.json, and for models that read tokens. INVALID_ARGUMENT names
/// the file and the key of another rate, window, length of clips or number of mel bins, and of steps that Regroup
/// lacks.
absl::Status CheckSpectrogramSettings(const std::filesystem::path& folder, const ModelConfig& config);

}  // namespace regroup
