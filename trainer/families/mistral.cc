// Mistral: LLaMA with a sliding window.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(
      reader, "mistral",
      {.kv_heads = 8, .kv_heads_may_be_null = false, .head_width_may_be_null = true, .max_positions = 131072});
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-6);
  config.kinds[0].sliding_window = reader.OptionalInteger("sliding_window", 4096);
  return Finish(reader, std::move(config));
}

}  // namespace

Family MistralFamily() {
  return {.models = "Mistral",
          .read_config = ReadConfig,
          .names = LlamaNames({}).rules(),
          .architecture = "MistralForCausalLM",
          .text_defaults =
              TextDefaults({.vocabulary = 32000, .hidden = 4096, .intermediate = 14336, .layers = 32, .heads = 32})};
}

}  // namespace regroup
