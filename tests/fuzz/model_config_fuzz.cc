// Input: a config.json. It is read by its own family and by one more that its length selects. Accepted input has sizes
// whose products do not overflow.
#include <fmt/format.h>

#include <string_view>

#include "services/common/base/bounded_json.h"
#include "tests/fuzz/require.h"
#include "trainer/families/family.h"

namespace regroup {
namespace {

void CheckConfig(const Family& family, const ModelConfig& config) {
  REGROUP_REQUIRE(config.layers > 0 && config.heads > 0 && config.kv_heads > 0 && config.head_width > 0);
  REGROUP_REQUIRE(config.heads % config.kv_heads == 0);
  REGROUP_REQUIRE(!config.kinds.empty());
  REGROUP_REQUIRE(!config.HasEncoder() || config.decoder_start_token < config.vocabulary);
  for (const AttentionKind& kind : config.kinds) {
    REGROUP_REQUIRE(kind.rotary.inverse_frequencies.size() == static_cast<size_t>(kind.rotary.width) / 2);
    REGROUP_REQUIRE(kind.rotary.width <= config.head_width && kind.sliding_window >= 0);
  }
  const auto layers = static_cast<size_t>(config.layers);
  REGROUP_REQUIRE(config.kind_of_layers.empty() || config.kind_of_layers.size() == layers);
  for (const int64_t kind : config.kind_of_layers) REGROUP_REQUIRE(kind < std::ssize(config.kinds));
  REGROUP_REQUIRE(config.experts.per_token <= config.experts.count);
  REGROUP_REQUIRE(config.KvHeadsOfAllLayers() > 0 && config.KvCacheBytesPerToken(4) > 0);
  const int64_t weights = config.hidden_size * (2 * config.heads * config.head_width + 3 * config.intermediate_size);
  REGROUP_REQUIRE(config.layers * weights + 2 * config.hidden_size * config.vocabulary > 0);
  REGROUP_REQUIRE(PlaceOf(family, config, "embedding.weight").has_value());
  PlaceOf(family, config, fmt::format("layers.{}.attention.key.weight", config.layers - 1));
}

void Read(const Family& family, const nlohmann::json& json) {
  if (!family.composite.has_value()) {
    const absl::StatusOr<ModelConfig> config = family.read_config(json);
    if (config.ok()) CheckConfig(family, *config);
    return;
  }
  const absl::StatusOr<TextConfig> text = TextConfigOf(family, json);
  if (text.ok()) Read(*text->family, text->config);
}

}  // namespace
}  // namespace regroup

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto json = regroup::ParseJsonObject({reinterpret_cast<const char*>(data), size});
  if (!json.ok()) return 0;
  const auto family = regroup::FamilyOf(*json);
  if (family.ok()) regroup::Read(**family, *json);
  regroup::Read(regroup::AllFamilies()[size % regroup::AllFamilies().size()], *json);
  return 0;
}
