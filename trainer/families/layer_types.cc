#include "trainer/families/layer_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace regroup {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kSliding = "sliding_attention", kFull = "full_attention";

bool IsListOfTypes(const Json& types, int64_t layers) {
  const auto is_type = [](const Json& type) { return type == kSliding || type == kFull; };
  return types.is_array() && std::ssize(types) == layers && std::ranges::all_of(types, is_type);
}

/// Returns 1 for each layer with a window and 0 for each without.
std::vector<int64_t> SlidingOfLayers(ConfigReader& reader, const ModelConfig& config, const ForLayers& otherwise) {
  std::vector<int64_t> sliding;
  const Json* types = reader.Find("layer_types");
  if (types == nullptr || types->is_null()) {
    for (int64_t layer = 0; layer < config.layers; ++layer) sliding.push_back(otherwise(layer) ? 1 : 0);
  } else if (IsListOfTypes(*types, config.layers)) {
    for (const Json& type : *types) sliding.push_back(type == kSliding ? 1 : 0);
  } else {
    reader.Fail(fmt::format("'layer_types' must be a list of {} entries, each '{}' or '{}', not {}", config.layers,
                            kFull, kSliding, Shown(*types)));
  }
  return sliding;
}

/// Returns rope_parameters[type], changed by rope_scaling if the layers are those of full attention. What is missing
/// has the type "default", which rope_scaling overrides by "rope_type" and not by its older name.
Json ParametersOf(ConfigReader& reader, std::string_view type) {
  Json parameters = {{"rope_type", "default"}};
  if (const Json* all = reader.Find("rope_parameters"); all != nullptr && !all->is_null()) {
    const bool has_types = all->is_object() && (all->contains(kFull) || all->contains(kSliding));
    if (!has_types && !(all->is_object() && all->empty())) {
      reader.Fail(fmt::format("'rope_parameters' must have an object for each of '{}' and '{}', not {}", kFull,
                              kSliding, Shown(*all)));
      return parameters;
    }
    const auto own = all->find(std::string(type));
    if (own != all->end() && !own->is_null()) parameters = *own;
  }
  const Json* scaling = type == kFull ? reader.Find("rope_scaling") : nullptr;
  if (scaling != nullptr && scaling->is_object() && parameters.is_object()) parameters.update(*scaling);
  return parameters;
}

}  // namespace

ForLayers AllButEvery(int64_t n) {
  return [n](int64_t layer) { return (layer + 1) % n != 0; };
}

ForLayers AllButEvery(ConfigReader& reader, std::string_view key, int64_t n) {
  return [&reader, key, n](int64_t layer) { return (layer + 1) % reader.IntegerOr(key, n) != 0; };
}

void ChangeKinds(ModelConfig& config, const ForLayers& has, const std::function<void(AttentionKind&)>& change) {
  std::vector<AttentionKind> kinds;
  std::vector<int64_t> kind_of_layers;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    AttentionKind kind = config.Kind(layer);
    if (has(layer)) change(kind);
    const auto known = std::ranges::find(kinds, kind);
    kind_of_layers.push_back(known - kinds.begin());
    if (known == kinds.end()) kinds.push_back(std::move(kind));
  }
  config.kinds = std::move(kinds);
  config.kind_of_layers = config.kinds.size() > 1 ? std::move(kind_of_layers) : std::vector<int64_t>();
}

void ReadLayerTypes(ConfigReader& reader, ModelConfig& config, const LayerTypeKeys& keys) {
  const std::vector<int64_t> sliding = SlidingOfLayers(reader, config, keys.otherwise);
  if (!reader.status().ok() || std::ranges::count(sliding, 1) == 0) return;
  const int64_t window = reader.OptionalInteger("sliding_window", keys.window);
  if (window == 0) reader.Fail("'sliding_window' is null, but 'layer_types' or its default gives layers a window");
  ChangeKinds(
      config, [&](int64_t layer) { return sliding[layer] == 1; },
      [&](AttentionKind& kind) { kind.sliding_window = window; });
}

void ReadQwenWindows(ConfigReader& reader, ModelConfig& config, const ForLayers& has) {
  const bool enabled = reader.BooleanOr("use_sliding_window", false);
  // The classes write 0 where it is not enabled.
  const bool has_window = enabled && reader.OptionalInteger("sliding_window", 4096) > 0;
  ReadLayerTypes(reader, config, {.otherwise = [&](int64_t layer) { return has_window && has(layer); }});
  const auto is_windowed = [](const AttentionKind& kind) { return kind.sliding_window > 0; };
  if (!enabled && std::ranges::any_of(config.kinds, is_windowed)) {
    reader.Fail("'layer_types' gives layers a sliding window, but 'use_sliding_window' is false");
  }
}

ForLayers FromMaxWindowLayers(ConfigReader& reader) {
  return [&reader](int64_t layer) { return layer >= reader.IndexOr("max_window_layers", 28); };
}

void ReadRotaryByLayerType(ConfigReader& reader, ModelConfig& config, const RotaryKeys& full,
                           const RotaryKeys& sliding) {
  for (AttentionKind& kind : config.kinds) {
    const bool is_full = kind.sliding_window == 0;
    RotaryKeys keys = is_full ? full : sliding;
    keys.by_layer_type = true;
    const std::string_view type = is_full ? kFull : kSliding;
    kind.rotary =
        ReadRotaryObject(reader, config, fmt::format("rope_parameters.{}", type), ParametersOf(reader, type), keys);
  }
}

}  // namespace regroup
