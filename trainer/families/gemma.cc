// Gemma: LLaMA with scaled embeddings, norms that add 1 to their weight, and an independent head width.
#include <cmath>

#include "trainer/families/gemma_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "gemma", GemmaDefaults());
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-6);
  config.norm = NormKind::kRmsPlusOne;
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  reader.RequireOrNull("use_bidirectional_attention", false);
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
  return Finish(reader, std::move(config));
}

}  // namespace

Family GemmaFamily() {
  return {.models = "Gemma",
          .read_config = ReadConfig,
          .names = LlamaNames(kAttentionBiases).rules(),
          .architecture = "GemmaForCausalLM"};
}

}  // namespace regroup
