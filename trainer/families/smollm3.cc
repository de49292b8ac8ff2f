// SmolLM 3: LLaMA without rotation in every fourth layer.
#include <fmt/format.h>

#include <algorithm>

#include "trainer/families/layer_types.h"
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

/// Tells which layers have no rotation: those whose entry in no_rope_layers is 0, by default every n-th, with n =
/// no_rope_layer_interval.
ForLayers LayersWithoutRotation(ConfigReader& reader, const ModelConfig& config) {
  const nlohmann::json* listed = reader.Find("no_rope_layers");
  if (listed == nullptr || listed->is_null()) {
    return [interval = reader.IntegerOr("no_rope_layer_interval", 4)](int64_t layer) {
      return (layer + 1) % interval == 0;
    };
  }
  const auto is_number = [](const nlohmann::json& entry) { return entry.is_number_integer(); };
  if (listed->is_array() && std::ssize(*listed) >= config.layers && std::ranges::all_of(*listed, is_number)) {
    return [listed](int64_t layer) { return (*listed)[layer] == 0; };
  }
  reader.Fail(
      fmt::format("'no_rope_layers' must be a list of {} numbers 0 or 1, not {}", config.layers, Shown(*listed)));
  return [](int64_t) { return false; };
}

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(
      reader, "smollm3", {.kv_heads = 4, .max_positions = 32768, .tied = true, .rotary = {.default_theta = 2000000.0}});
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-6);
  const ForLayers rotates_not = LayersWithoutRotation(reader, config);
  const bool windowed =
      reader.BooleanOr("use_sliding_window", false) && reader.OptionalInteger("sliding_window", 0) > 0;
  ReadLayerTypes(reader, config,
                 {.otherwise = [&](int64_t layer) { return windowed && rotates_not(layer); }, .window = 0});
  ChangeKinds(config, rotates_not, [](AttentionKind& kind) { kind.rotary = {}; });
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
  reader.ReadBias(config, KeyOf(Bias::kByMlpBias), false);
  return Finish(reader, std::move(config));
}

}  // namespace

Family Smollm3Family() {
  return {.models = "SmolLM3",
          .read_config = ReadConfig,
          .names = LlamaNames(kAllBiases).rules(),
          .architecture = "SmolLM3ForCausalLM"};
}

}  // namespace regroup
