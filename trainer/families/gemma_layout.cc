#include "trainer/families/gemma_layout.h"

#include <cmath>

#include "trainer/families/layer_types.h"

namespace regroup {

LlamaDefaults GemmaDefaults() {
  return {.kv_heads = 16,
          .kv_heads_may_be_null = false,
          .head_width = 256,
          .max_positions = 8192,
          .activation = "gelu_pytorch_tanh",
          .tied = true};
}

LlamaDefaults Gemma2Defaults() {
  LlamaDefaults defaults = GemmaDefaults();
  defaults.kv_heads = 4;
  defaults.activation_key = "hidden_activation";
  return defaults;
}

void ReadGemma2Blocks(ConfigReader& reader, ModelConfig& config, const GemmaCaps& defaults) {
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

ModelConfig ReadGemma2Config(ConfigReader& reader, std::string_view family) {
  ModelConfig config = ReadLlamaConfig(reader, family, Gemma2Defaults());
  ReadGemma2Blocks(reader, config, {.attention = 50.0, .logits = 30.0});
  ReadLayerTypes(reader, config, {.otherwise = AllButEvery(2)});
  return config;
}

NameRules Gemma2Names() {
  return LlamaNames(kAttentionBiases)
      .Without("layers.{}.feed_forward_norm")
      .RmsNorm("layers.{}.attention_output_norm", "model.layers.{}.post_attention_layernorm")
      .RmsNorm("layers.{}.feed_forward_norm", "model.layers.{}.pre_feedforward_layernorm")
      .RmsNorm("layers.{}.feed_forward_output_norm", "model.layers.{}.post_feedforward_layernorm");
}

}  // namespace regroup
