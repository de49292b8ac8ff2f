// Command R7B and Command A: Cohere's blocks with rotation and a sliding window in three of four layers, and neither in
// the others.
#include "trainer/families/cohere_layout.h"
#include "trainer/families/layer_types.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "cohere2", {.max_positions = 8192, .tied = true});
  ReadCohereConfig(reader, config);
  ReadLayerTypes(reader, config, {.otherwise = AllButEvery(reader, "sliding_window_pattern", 4)});
  for (AttentionKind& kind : config.kinds) {
    if (kind.sliding_window == 0) kind.rotary = {};
  }
  return Finish(reader, std::move(config));
}

}  // namespace

Family Cohere2Family() {
  return {.models = "Command R7B, Command A",
          .read_config = ReadConfig,
          .names = CohereNames(),
          .architecture = "Cohere2ForCausalLM"};
}

}  // namespace regroup
