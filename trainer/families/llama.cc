// LLaMA: RMSNorm, rotary positions over the whole head, gated SiLU.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "llama", {.head_width_may_be_null = true});
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-6);
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
  reader.ReadBias(config, KeyOf(Bias::kByMlpBias), false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return LlamaNames({.query_key_value = Bias::kByAttentionBias,
                     .attention_output = Bias::kByAttentionBias,
                     .feed_forward = Bias::kByMlpBias})
      .rules();
}

}  // namespace

Family LlamaFamily() { return {.read_config = ReadConfig, .names = Names(), .architecture = "LlamaForCausalLM"}; }

}  // namespace regroup
