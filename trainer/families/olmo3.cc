// OLMo 3: OLMo 2 with a sliding window in three of four layers, and scaled frequencies in the others.
#include "trainer/families/layer_types.h"
#include "trainer/families/olmo_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "olmo3", {.rotary_by_layer_type = true});
  ReadLayerTypes(reader, config, {.otherwise = AllButEvery(4)});
  ReadRotaryByLayerType(reader, config, {.default_theta = 500000.0}, {.theta = "", .default_theta = 500000.0});
  ReadOlmo2Config(reader, config);
  return Finish(reader, std::move(config));
}

}  // namespace

Family Olmo3Family() {
  return {.models = "OLMo 3", .read_config = ReadConfig, .names = Olmo2Names(), .architecture = "Olmo3ForCausalLM"};
}

}  // namespace regroup
