// OLMo 2: LLaMA with norms after attention and feed-forward, and norms over all queries and all keys.
#include "trainer/families/olmo_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "olmo2", {});
  ReadOlmo2Config(reader, config);
  return Finish(reader, std::move(config));
}

}  // namespace

Family Olmo2Family() {
  return {.models = "OLMo 2", .read_config = ReadConfig, .names = Olmo2Names(), .architecture = "Olmo2ForCausalLM"};
}

}  // namespace regroup
