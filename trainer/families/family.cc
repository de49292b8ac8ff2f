#include "trainer/families/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace regroup {
namespace {

/// A parameter's name with "{}" for its indices.
struct SplitName {
  std::string pattern;
  /// The layer in its stack, and the expert.
  std::vector<std::string> indices;
  int64_t layer = 0;
};

int64_t NumberIn(const std::string& text) {
  int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// Replaces the number that follows `before` by "{}", and returns it.
std::optional<std::string> TakeIndex(std::string& name, std::string_view before) {
  const size_t found = name.find(before);
  if (found == std::string::npos) return std::nullopt;
  const size_t begin = found + before.size();
  const size_t end = name.find('.', begin);
  std::string index = name.substr(begin, end - begin);
  name.replace(begin, end - begin, "{}");
  return index;
}

/// Splits "layers.3.rest" into "layers.{}.rest" and "3"; returns names without a layer unchanged.
SplitName SplitIndices(const ModelConfig& config, std::string_view name) {
  constexpr std::string_view kPrefix = "layers.";
  SplitName split{.pattern = std::string(name)};
  if (!name.starts_with(kPrefix)) return split;
  const std::string index = *TakeIndex(split.pattern, kPrefix);
  split.layer = NumberIn(index);
  const auto [stack, place] = config.PlaceOfLayer(split.layer);
  split.pattern = fmt::format("{}.{}", stack, split.pattern.substr(kPrefix.size()));
  split.indices.push_back(std::to_string(place));
  if (const auto expert = TakeIndex(split.pattern, ".experts.")) split.indices.push_back(*expert);
  return split;
}

std::string WithIndices(std::string pattern, const std::vector<std::string>& indices) {
  for (const std::string& index : indices) {
    const size_t slot = pattern.find("{}");
    if (slot != std::string::npos) pattern.replace(slot, 2, index);
  }
  return pattern;
}

/// Returns the parameter of the rule that is in the layer of `ours`: "layers.3.attention.key.weight".
std::string NameInLayer(const NameRule& rule, std::string_view ours, const SplitName& split) {
  const size_t slot = rule.ours.find("{}");
  if (slot == std::string::npos) return rule.ours;
  const size_t layer = ours.find('.') + 1;
  std::string rest = rule.ours.substr(slot + 2);
  if (split.indices.size() > 1) rest = WithIndices(std::move(rest), {split.indices.back()});
  return fmt::format("{}{}", ours.substr(0, ours.find('.', layer)), rest);
}

bool Applies(const NameRule& rule, const ModelConfig& config, int64_t layer) {
  if (rule.gated.value_or(config.gated_feed_forward) != config.gated_feed_forward) return false;
  const bool has_experts = config.HasExperts(layer);
  if (rule.experts.value_or(has_experts) != has_experts) return false;
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

absl::StatusOr<TextConfig> TextConfigOf(const Family& composite, const nlohmann::json& config) {
  constexpr std::string_view kTied = "tie_word_embeddings";
  const auto written = config.find("text_config");
  if (written == config.end() || !written->is_object()) {
    return absl::InvalidArgumentError("config.json: 'text_config' must be an object");
  }
  nlohmann::json text = *written;
  if (!text.contains("model_type")) text["model_type"] = composite.composite->text_type;
  const auto family = FamilyOf(text);
  if (!family.ok() || (*family)->composite.has_value()) {
    return absl::InvalidArgumentError(
        fmt::format("config.json: model_type '{}' in 'text_config' is not supported", text["model_type"].dump()));
  }
  nlohmann::json whole = (*family)->text_defaults;
  whole.update(text);
  const auto tied = config.find(std::string(kTied));
  const bool is_tied = tied == config.end() ? composite.composite->tied : *tied == true;
  if (is_tied || !composite.composite->reads_tied_of_text) whole[std::string(kTied)] = is_tied;
  return TextConfig{.family = *family, .config = std::move(whole)};
}

std::optional<ParameterPlace> PlaceOf(const Family& family, const ModelConfig& config, std::string_view ours) {
  const SplitName split = SplitIndices(config, ours);
  const auto is_rule = [&](const NameRule& rule) {
    return rule.ours == split.pattern && Applies(rule, config, split.layer);
  };
  const auto rule = std::ranges::find_if(family.names, is_rule);
  if (rule == family.names.end()) return std::nullopt;
  ParameterPlace place{
      .name = WithIndices(rule->checkpoint, split.indices), .packing = rule->packing, .bias_key = rule->bias_key};
  if (split.indices.size() > 1) place.expert = NumberIn(split.indices.back());
  for (const NameRule& other : family.names) {
    if (other.checkpoint != rule->checkpoint || !Applies(other, config, split.layer)) continue;
    if (&other == &*rule) place.part = static_cast<int>(place.parts.size());
    place.parts.push_back(NameInLayer(other, ours, split));
  }
  return place;
}

Family WithStackedExperts(const Family& family) {
  Family stacked = family;
  for (NameRule& rule : stacked.names) {
    const auto same = [&](const NameRule& other) { return other.ours == rule.ours; };
    const auto found = std::ranges::find_if(family.stacked_experts, same);
    if (found != family.stacked_experts.end() && rule.experts.value_or(false)) rule = *found;
  }
  return stacked;
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
