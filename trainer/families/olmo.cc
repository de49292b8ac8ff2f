// OLMo: LLaMA with LayerNorm that has no parameters.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "olmo", {});
  config.norm = NormKind::kLayer;
  config.norm_epsilon = 1e-5;
  // Clipped queries and keys are not linear in the input, so no linear map of them leaves the model unchanged.
  reader.Require("clip_qkv", nullptr);
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() { return LlamaNames(kAttentionBiases).Without("norm").rules(); }

}  // namespace

Family OlmoFamily() {
  return {.models = "OLMo", .read_config = ReadConfig, .names = Names(), .architecture = "OlmoForCausalLM"};
}

}  // namespace regroup
