// Granite 3: LLaMA with factors on embedding, attention, residual branches and logits.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "granite", {});
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-6);
  config.embedding_scale = reader.PositiveOr("embedding_multiplier", 1.0);
  config.attention_scale = reader.PositiveOr("attention_multiplier", 1.0);
  config.residual_scale = reader.PositiveOr("residual_multiplier", 1.0);
  config.output_scale = 1.0 / reader.PositiveOr("logits_scaling", 1.0);
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
  reader.ReadBias(config, KeyOf(Bias::kByMlpBias), false);
  return Finish(reader, std::move(config));
}

}  // namespace

Family GraniteFamily() {
  return {.models = "Granite 3",
          .read_config = ReadConfig,
          .names = LlamaNames(kAllBiases).rules(),
          .architecture = "GraniteForCausalLM"};
}

}  // namespace regroup
