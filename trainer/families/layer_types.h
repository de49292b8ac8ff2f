// Reads which layers of a model have a sliding window, and the rotation of each kind of layer. Used by families.
#pragma once

#include <functional>
#include <string_view>

#include "trainer/families/config_reader.h"
#include "trainer/families/rotary_keys.h"

namespace regroup {

/// Answers a question about each layer.
using ForLayers = std::function<bool(int64_t layer)>;

/// Is true for all layers but every n-th. With a key, n is that of the configuration, read when it is asked.
ForLayers AllButEvery(int64_t n);
ForLayers AllButEvery(ConfigReader& reader, std::string_view key, int64_t n);

/// Changes the kind of attention of the layers for which `has` is true.
void ChangeKinds(ModelConfig& config, const ForLayers& has, const std::function<void(AttentionKind&)>& change);

struct LayerTypeKeys {
  /// Decides if `layer_types` is missing or null.
  ForLayers otherwise;
  /// `sliding_window` if the key is missing; 0 for null.
  int64_t window = 4096;
};

/// Reads layer_types, and gives the layers of "sliding_attention" the window in `sliding_window`. If some layers have
/// it and others do not, the model then has more than one kind of attention.
void ReadLayerTypes(ConfigReader& reader, ModelConfig& config, const LayerTypeKeys& keys);

/// Reads layer_types as Qwen's classes do: without it the layers for which `has` is true have the window, or none if
/// use_sliding_window is false, as it is by default.
void ReadQwenWindows(ConfigReader& reader, ModelConfig& config, const ForLayers& has);

/// Is true for the layers from max_window_layers on.
ForLayers FromMaxWindowLayers(ConfigReader& reader);

/// Reads rope_parameters with one object for each layer type, "full_attention" and "sliding_attention"; an object
/// rope_scaling changes the first. Call it after ReadLayerTypes.
void ReadRotaryByLayerType(ConfigReader& reader, ModelConfig& config, const RotaryKeys& full,
                           const RotaryKeys& sliding);

}  // namespace regroup
