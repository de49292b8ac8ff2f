// Gemma: LLaMA with scaled embeddings, norms that add 1 to their weight, and an independent head width.
#include <cmath>

#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "gemma");
  // The key was renamed. If only the old key is given, Transformers ignores it and uses the default of the new one.
  config.activation = reader.ReadActivation("hidden_activation", "gelu_pytorch_tanh");
  config.norm = NormKind::kRmsPlusOne;
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", true);
  reader.Require("use_bidirectional_attention", false);
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
  return Finish(reader, std::move(config));
}

}  // namespace

Family GemmaFamily() {
  return {
      .read_config = ReadConfig,
      .names =
          LlamaNames({.query_key_value = Bias::kByAttentionBias, .attention_output = Bias::kByAttentionBias}).rules()};
}

}  // namespace regroup
