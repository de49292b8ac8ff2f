// Derives settings for a given model from the job's spec.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "regroup/v1/worker_service.pb.h"
#include "trainer/alignment/align_layer.h"
#include "trainer/nn/model_config.h"

namespace regroup {

/// Returns the entries of a window: the spec's length, by default the smaller of 2048 and the model's maximum. Where
/// the encoder reads audio, the length is that of a transcript, and the spectrogram comes before it.
template <typename Message>
int64_t SequenceLength(const Message& message, const ModelConfig& config) {
  const int64_t audio = config.spectrogram.Values();
  if (message.has_sequence_length()) return audio + message.sequence_length();
  if (config.ReadsAudio()) return audio + config.StackPositions();
  return std::min<int64_t>(2048, config.max_positions);
}

/// Returns the positions of a window of that length in the streams of encoder and decoder.
template <typename Message>
int64_t StreamLength(const Message& message, const ModelConfig& config) {
  return config.StreamTokens(SequenceLength(message, config));
}

/// Tokens of the evaluation's text on which the result is compared with what the source predicts.
inline constexpr int64_t kComparedTokens = 131072;

/// Returns the type of activations and gradients for a `precision` of the job file; auto depends on the device.
inline at::ScalarType TrainingType(std::string_view precision, at::Device device) {
  if (precision == "bfloat16") return at::kBFloat16;
  if (precision == "float32") return at::kFloat;
  return device.is_cuda() ? at::kBFloat16 : at::kFloat;
}

/// Returns the peak learning rate of layerwise distillation: the spec's, else by the width of the model, see
/// trainer/layerwise/README.md.
inline double LayerwiseRate(const v1::Layerwise& layerwise, const ModelConfig& config) {
  if (layerwise.has_learning_rate()) return layerwise.learning_rate();
  return 4e-3 * std::sqrt(256.0 / static_cast<double>(config.hidden_size));
}

/// Returns the alignment options of one arm.
inline AlignmentOptions AlignmentOptionsOf(const v1::JobSpec& spec, const v1::Arm& arm) {
  AlignmentOptions options;
  options.method = arm.alignment();
  options.compare = spec.alignment().compare();
  options.similarity = spec.alignment().similarity();
  options.groups = arm.kv_heads();
  options.seed = spec.alignment().seed();
  if (spec.alignment().has_restore_norm()) options.restore_norm = spec.alignment().restore_norm();
  options.match_energy = spec.alignment().match_energy();
  return options;
}

/// Returns true if layers may get unequal numbers of KV heads.
inline bool SpendsHeadsPerLayer(const v1::JobSpec& spec) { return spec.target().per_layer() == "auto"; }

}  // namespace regroup
