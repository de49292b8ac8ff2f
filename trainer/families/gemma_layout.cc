#include "trainer/families/gemma_layout.h"

#include <cmath>

namespace regroup {

void ReadGemma2Config(ConfigReader& reader, ModelConfig& config, const GemmaCaps& defaults) {
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-6);
  config.norm = NormKind::kRmsPlusOne;
  config.layout = BlockLayout::kNormAround;
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  config.attention_scale = 1.0 / std::sqrt(reader.PositiveOr("query_pre_attn_scalar", 256));
  config.attention_soft_cap = reader.PositiveOrNull("attn_logit_softcapping", defaults.attention);
  config.logit_soft_cap = reader.PositiveOrNull("final_logit_softcapping", defaults.logits);
  reader.RequireOrNull("use_bidirectional_attention", false);
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
}

NameRules Gemma2Names() {
  return LlamaNames(kAttentionBiases)
      .Without("layers.{}.feed_forward_norm")
      .RmsNorm("layers.{}.attention_output_norm", "model.layers.{}.post_attention_layernorm")
      .RmsNorm("layers.{}.feed_forward_norm", "model.layers.{}.pre_feedforward_layernorm")
      .RmsNorm("layers.{}.feed_forward_output_norm", "model.layers.{}.post_feedforward_layernorm");
}

}  // namespace regroup
