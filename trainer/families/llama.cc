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

std::vector<NameRule> Names() { return LlamaNames(kAllBiases).rules(); }

}  // namespace

Family LlamaFamily() {
  return {.models = "LLaMA 1 to 3, Vicuna, Yi, SmolLM2",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "LlamaForCausalLM",
          .text_defaults =
              TextDefaults({.vocabulary = 32000, .hidden = 4096, .intermediate = 11008, .layers = 32, .heads = 32})};
}

}  // namespace regroup
