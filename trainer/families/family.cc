#include "trainer/families/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace regroup {
namespace {

/// "layers.3.rest" -> {"layers.{}.rest", "3"}; names without a layer stay as they are.
std::pair<std::string, std::string> SplitLayer(std::string_view name) {
  constexpr std::string_view kPrefix = "layers.";
  if (!name.starts_with(kPrefix)) return {std::string(name), ""};
  const size_t end = name.find('.', kPrefix.size());
  return {fmt::format("{}{{}}{}", kPrefix, name.substr(end)),
          std::string(name.substr(kPrefix.size(), end - kPrefix.size()))};
}

}  // namespace

absl::StatusOr<const Family*> FamilyOf(const nlohmann::json& config) {
  if (!config.is_object() || !config.contains("model_type") || !config["model_type"].is_string()) {
    return absl::InvalidArgumentError("config.json: 'model_type' is missing");
  }
  const std::string model_type = config["model_type"];
  std::string known;
  for (const Family* family : AllFamilies()) {
    const auto& types = family->model_types;
    if (std::find(types.begin(), types.end(), model_type) != types.end()) return family;
    for (std::string_view type : types) known += fmt::format("{}{}", known.empty() ? "" : ", ", type);
  }
  return absl::InvalidArgumentError(
      fmt::format("config.json: model_type '{}' is not a supported family; supported are {}", model_type, known));
}

std::optional<ParameterPlace> PlaceOf(const Family& family, std::string_view ours) {
  const auto [pattern, layer] = SplitLayer(ours);
  int part = 0;
  std::string_view fused;
  for (const NameRule& rule : family.names) {
    part = rule.checkpoint == fused ? part + 1 : 0;
    fused = rule.checkpoint;
    if (rule.ours != pattern) continue;
    std::string name = rule.checkpoint;
    const size_t slot = name.find("{}");
    if (slot != std::string::npos) name.replace(slot, 2, layer);
    return ParameterPlace{std::move(name), rule.packing, part, rule.optional};
  }
  return std::nullopt;
}

}  // namespace regroup
