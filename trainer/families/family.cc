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

std::string WithIndex(std::string pattern, std::string_view index) {
  const size_t slot = pattern.find("{}");
  if (slot != std::string::npos) pattern.replace(slot, 2, index);
  return pattern;
}

/// Returns the parameter of the rule that is in the layer of `ours`: "layers.3.attention.key.weight".
std::string NameInLayer(const NameRule& rule, std::string_view ours) {
  const size_t slot = rule.ours.find("{}");
  if (slot == std::string::npos) return rule.ours;
  const size_t layer = ours.find('.') + 1;
  return fmt::format("{}{}", ours.substr(0, ours.find('.', layer)), rule.ours.substr(slot + 2));
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
  const auto is_rule = [&](const NameRule& rule) { return rule.ours == pattern && Applies(rule, config); };
  const auto rule = std::ranges::find_if(family.names, is_rule);
  if (rule == family.names.end()) return std::nullopt;
  ParameterPlace place{
      .name = WithIndex(rule->checkpoint, index), .packing = rule->packing, .bias_key = rule->bias_key};
  for (const NameRule& other : family.names) {
    if (other.checkpoint != rule->checkpoint || !Applies(other, config)) continue;
    if (&other == &*rule) place.part = static_cast<int>(place.parts.size());
    place.parts.push_back(NameInLayer(other, ours));
  }
  return place;
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
