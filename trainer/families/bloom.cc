// BLOOM: attention with linear biases, fused query, key and value by head, a norm on the embedding.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config{.family = "bloom"};
  config.hidden_size = reader.IntegerOfAny({"n_embed", "hidden_size"});
  config.layers = reader.IntegerOfAny({"num_hidden_layers", "n_layer"});
  config.heads = config.kv_heads = reader.IntegerOfAny({"num_attention_heads", "n_head"});
  config.head_width = config.hidden_size / config.heads;
  config.intermediate_size = 4 * config.hidden_size;
  config.vocabulary = reader.Integer("vocab_size");
  config.max_positions = reader.IntegerOr("seq_length", 2048);
  config.norm = NormKind::kLayer;
  config.norm_epsilon = reader.NumberOr("layer_norm_epsilon", 1e-5);
  config.gated_feed_forward = false;
  config.activation = Activation::kGeluTanh;
  config.alibi = true;
  config.embedding_norm = true;
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", true);
  reader.Require("apply_residual_connection_post_layernorm", false);
  CheckHeads(reader, config, false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return NameRules()
      .Tensor("embedding.weight", "transformer.word_embeddings.weight")
      .LayerNorm("embedding_norm", "transformer.word_embeddings_layernorm")
      .LayerNorm("layers.{}.attention_norm", "transformer.h.{}.input_layernorm")
      .FusedAttention("transformer.h.{}.self_attention.query_key_value", Bias::kAlways, Packing::kFusedByHead)
      .Linear("layers.{}.attention.output", "transformer.h.{}.self_attention.dense")
      .LayerNorm("layers.{}.feed_forward_norm", "transformer.h.{}.post_attention_layernorm")
      .Linear("layers.{}.feed_forward.up", "transformer.h.{}.mlp.dense_h_to_4h")
      .Linear("layers.{}.feed_forward.down", "transformer.h.{}.mlp.dense_4h_to_h")
      .LayerNorm("final_norm", "transformer.ln_f")
      .Tensor("head.weight", "lm_head.weight")
      .rules();
}

}  // namespace

Family BloomFamily() {
  return {.models = "BLOOM",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "BloomForCausalLM",
          .standard_gqa = false};
}

}  // namespace regroup
