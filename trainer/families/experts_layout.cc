#include "trainer/families/experts_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <vector>

namespace regroup {
namespace {

/// Returns the layers without experts.
std::vector<int64_t> DenseLayers(ConfigReader& reader, int64_t layers) {
  const int64_t step = reader.IntegerOr("decoder_sparse_step", 1);
  const nlohmann::json* only = reader.Find("mlp_only_layers");
  const nlohmann::json listed = only == nullptr || only->is_null() ? nlohmann::json::array() : *only;
  const auto is_layer = [](const nlohmann::json& entry) { return entry.is_number_integer(); };
  if (!listed.is_array() || !std::ranges::all_of(listed, is_layer)) {
    reader.Fail(fmt::format("'mlp_only_layers' must be a list of layers, not {}", Shown(listed)));
    return {};
  }
  const auto numbers = listed.get<std::vector<int64_t>>();
  const std::set<int64_t> without(numbers.begin(), numbers.end());
  std::vector<int64_t> dense;
  for (int64_t layer = 0; layer < layers; ++layer) {
    if (without.contains(layer) || (layer + 1) % step != 0) dense.push_back(layer);
  }
  return dense;
}

}  // namespace

int64_t ReadExpertCount(ConfigReader& reader, const std::vector<std::string_view>& names, int64_t otherwise) {
  for (const std::string_view name : names) {
    if (reader.Find(name) != nullptr) return reader.Integer(name);
  }
  return otherwise;
}

void CheckExperts(ConfigReader& reader, const ModelConfig& config) {
  if (config.experts.per_token <= config.experts.count) return;
  reader.Fail(fmt::format("num_experts_per_tok {} is more than the number of experts, {}", config.experts.per_token,
                          config.experts.count));
}

void ReadExperts(ConfigReader& reader, ModelConfig& config, const ExpertsDefaults& defaults) {
  config.experts.count = ReadExpertCount(reader, defaults.names, defaults.count);
  config.experts.per_token = reader.IntegerOr("num_experts_per_tok", defaults.per_token);
  config.experts.width = reader.IntegerOr("moe_intermediate_size", defaults.width);
  config.experts.normalised = reader.BooleanOr("norm_topk_prob", false);
  config.experts.dense_layers = DenseLayers(reader, config.layers);
  CheckExperts(reader, config);
}

std::vector<NameRule> StackedExperts() {
  const auto rule = [](std::string_view ours, std::string_view checkpoint, Packing packing) {
    return NameRule{.ours = fmt::format("layers.{{}}.feed_forward.{}.weight", ours),
                    .checkpoint = fmt::format("model.layers.{{}}.mlp.{}", checkpoint),
                    .packing = packing,
                    .experts = true};
  };
  return {rule("experts.{}.gate", "experts.gate_up_proj", Packing::kStackedRows),
          rule("experts.{}.up", "experts.gate_up_proj", Packing::kStackedRows),
          rule("experts.{}.down", "experts.down_proj", Packing::kStackedRows),
          rule("router", "gate.weight", Packing::kPlain)};
}

NameRules WithExperts(NameRules rules) {
  rules.Without(".feed_forward.");
  for (const char* map : {"gate", "up", "down"}) {
    rules.OfExperts(fmt::format("layers.{{}}.feed_forward.{}", map), fmt::format("model.layers.{{}}.mlp.{}_proj", map),
                    false);
    rules.OfExperts(fmt::format("layers.{{}}.feed_forward.experts.{{}}.{}", map),
                    fmt::format("model.layers.{{}}.mlp.experts.{{}}.{}_proj", map));
  }
  return rules.OfExperts("layers.{}.feed_forward.router", "model.layers.{}.mlp.gate");
}

}  // namespace regroup
