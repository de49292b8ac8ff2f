// BLOOM: attention with linear biases, fused query, key and value by head, a norm on the embedding.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config{.family = "bloom"};
  config.hidden_size = reader.IntegerOfAny({"hidden_size", "n_embed"});
  config.layers = reader.IntegerOfAny({"n_layer", "num_hidden_layers"});
  config.heads = config.kv_heads = reader.IntegerOfAny({"n_head", "num_attention_heads"});
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
  constexpr std::string_view kFused = "transformer.h.{}.self_attention.query_key_value.weight";
  constexpr std::string_view kFusedBias = "transformer.h.{}.self_attention.query_key_value.bias";
  return {
      {"embedding.weight", "transformer.word_embeddings.weight"},
      {"embedding_norm.weight", "transformer.word_embeddings_layernorm.weight"},
      {"embedding_norm.bias", "transformer.word_embeddings_layernorm.bias"},
      {"layers.{}.attention_norm.weight", "transformer.h.{}.input_layernorm.weight"},
      {"layers.{}.attention_norm.bias", "transformer.h.{}.input_layernorm.bias"},
      {"layers.{}.attention.query.weight", kFused, Packing::kFusedByHead},
      {"layers.{}.attention.key.weight", kFused, Packing::kFusedByHead},
      {"layers.{}.attention.value.weight", kFused, Packing::kFusedByHead},
      {"layers.{}.attention.query.bias", kFusedBias, Packing::kFusedByHead},
      {"layers.{}.attention.key.bias", kFusedBias, Packing::kFusedByHead},
      {"layers.{}.attention.value.bias", kFusedBias, Packing::kFusedByHead},
      {"layers.{}.attention.output.weight", "transformer.h.{}.self_attention.dense.weight"},
      {"layers.{}.attention.output.bias", "transformer.h.{}.self_attention.dense.bias"},
      {"layers.{}.feed_forward_norm.weight", "transformer.h.{}.post_attention_layernorm.weight"},
      {"layers.{}.feed_forward_norm.bias", "transformer.h.{}.post_attention_layernorm.bias"},
      {"layers.{}.feed_forward.up.weight", "transformer.h.{}.mlp.dense_h_to_4h.weight"},
      {"layers.{}.feed_forward.up.bias", "transformer.h.{}.mlp.dense_h_to_4h.bias"},
      {"layers.{}.feed_forward.down.weight", "transformer.h.{}.mlp.dense_4h_to_h.weight"},
      {"layers.{}.feed_forward.down.bias", "transformer.h.{}.mlp.dense_4h_to_h.bias"},
      {"final_norm.weight", "transformer.ln_f.weight"},
      {"final_norm.bias", "transformer.ln_f.bias"},
      {"head.weight", "lm_head.weight"},
  };
}

}  // namespace

const Family& BloomFamily() {
  static const Family family{.model_types = {"bloom"},
                             .read_config = ReadConfig,
                             .names = Names(),
                             .prefix = "transformer.",
                             .standard_gqa = false};
  return family;
}

}  // namespace regroup
