#include "trainer/families/gpt_layout.h"

namespace regroup {

ModelConfig ReadGptConfig(ConfigReader& reader, std::string_view family, int64_t max_positions) {
  ModelConfig config{.family = std::string(family)};
  config.hidden_size = reader.IntegerOfAny({"hidden_size", "n_embd"});
  config.layers = reader.IntegerOfAny({"num_hidden_layers", "n_layer"});
  config.heads = config.kv_heads = reader.IntegerOfAny({"num_attention_heads", "n_head"});
  config.head_width = config.hidden_size / config.heads;
  config.intermediate_size = reader.OptionalInteger("n_inner", 0);
  if (config.intermediate_size == 0) config.intermediate_size = 4 * config.hidden_size;
  config.vocabulary = reader.Integer("vocab_size");
  config.max_positions = reader.IntegerOr("max_position_embeddings", reader.IntegerOr("n_positions", max_positions));
  config.norm = NormKind::kLayer;
  config.norm_epsilon = reader.NumberOr("layer_norm_epsilon", 1e-5);
  config.gated_feed_forward = false;
  config.activation = reader.ReadActivation("activation_function", "gelu_new");
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", false);
  CheckHeads(reader, config, false);
  return config;
}

ModelConfig ReadGpt2Config(ConfigReader& reader, std::string_view family) {
  ModelConfig config = ReadGptConfig(reader, family, 1024);
  config.learned_positions = config.max_positions;
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", true);
  reader.Require("scale_attn_weights", true);
  reader.Require("add_cross_attention", false);
  return config;
}

std::vector<NameRule> Gpt2Names(const Gpt2Packing& packing) {
  return NameRules()
      .Tensor("embedding.weight", "transformer.wte.weight")
      .Tensor("positions.weight", "transformer.wpe.weight")
      .LayerNorm("layers.{}.attention_norm", "transformer.h.{}.ln_1")
      .FusedAttention("transformer.h.{}.attn.c_attn", Bias::kAlways, packing.attention)
      .Linear("layers.{}.attention.output", "transformer.h.{}.attn.c_proj", Bias::kAlways, packing.linear)
      .LayerNorm("layers.{}.feed_forward_norm", "transformer.h.{}.ln_2")
      .Linear("layers.{}.feed_forward.up", "transformer.h.{}.mlp.c_fc", Bias::kAlways, packing.linear)
      .Linear("layers.{}.feed_forward.down", "transformer.h.{}.mlp.c_proj", Bias::kAlways, packing.linear)
      .LayerNorm("final_norm", "transformer.ln_f")
      .Tensor("head.weight", "lm_head.weight")
      .rules();
}

}  // namespace regroup
