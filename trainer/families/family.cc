#include "trainer/families/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace regroup {
namespace {

/// A parameter's name without its layer, and the layer.
struct SplitName {
  std::string pattern;
  std::string index;
};

/// Splits "layers.3.rest" into {"layers.{}.rest", "3"}; returns names without a layer unchanged.
SplitName SplitLayer(const ModelConfig& config, std::string_view name) {
  constexpr std::string_view kPrefix = "layers.";
  if (!name.starts_with(kPrefix)) return {std::string(name), ""};
  const size_t end = name.find('.', kPrefix.size());
  int64_t layer = 0;
  std::from_chars(name.data() + kPrefix.size(), name.data() + end, layer);
  const auto [stack, index] = config.PlaceOfLayer(layer);
  return {fmt::format("{}.{{}}{}", stack, name.substr(end)), std::to_string(index)};
}

bool Applies(const NameRule& rule, const ModelConfig& config) {
  if (rule.gated.value_or(config.gated_feed_forward) != config.gated_feed_forward) return false;
  return rule.bias_key.empty() || std::ranges::find(config.bias_keys, rule.bias_key) != config.bias_keys.end();
}

}  // namespace

void WriteUntied(nlohmann::json& config) { config["tie_word_embeddings"] = false; }

absl::StatusOr<const Family*> FamilyOf(const nlohmann::json& config) {
  if (!config.is_object() || !config.contains("model_type") || !config["model_type"].is_string()) {
    return absl::InvalidArgumentError("config.json: 'model_type' is missing");
  }
  const std::string model_type = config["model_type"];
  std::string known;
  for (const Family& family : AllFamilies()) {
    const auto& types = family.model_types;
    if (std::find(types.begin(), types.end(), model_type) != types.end()) return &family;
    for (std::string_view type : types) known += fmt::format("{}{}", known.empty() ? "" : ", ", type);
  }
  return absl::InvalidArgumentError(
      fmt::format("config.json: model_type '{}' is not a supported family; supported are {}", model_type, known));
}

std::optional<ParameterPlace> PlaceOf(const Family& family, const ModelConfig& config, std::string_view ours) {
  const auto [pattern, index] = SplitLayer(config, ours);
  int part = 0;
  std::string_view fused;
  for (const NameRule& rule : family.names) {
    part = rule.checkpoint == fused ? part + 1 : 0;
    fused = rule.checkpoint;
    if (rule.ours != pattern || !Applies(rule, config)) continue;
    std::string name = rule.checkpoint;
    const size_t slot = name.find("{}");
    if (slot != std::string::npos) name.replace(slot, 2, index);
    return ParameterPlace{std::move(name), rule.packing, part, rule.bias_key};
  }
  return std::nullopt;
}

std::string BaseName(const Family& family, const ModelConfig& config) {
  const auto first_part = [&](std::string_view ours) {
    const std::string name = PlaceOf(family, config, ours)->name;
    return name.substr(0, name.find('.') + 1);
  };
  const std::string base = first_part("embedding.weight");
  return base == first_part("layers.0.attention.query.weight") ? base : "";
}

}  // namespace regroup
