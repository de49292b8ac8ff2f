// OPT: learned positions, LayerNorm before attention and feed-forward, ReLU, biases everywhere.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config{.family = "opt"};
  config.hidden_size = reader.Integer("hidden_size");
  config.layers = reader.Integer("num_hidden_layers");
  config.heads = config.kv_heads = reader.Integer("num_attention_heads");
  config.head_width = config.hidden_size / config.heads;
  config.intermediate_size = reader.Integer("ffn_dim");
  config.vocabulary = reader.Integer("vocab_size");
  config.max_positions = reader.IntegerOr("max_position_embeddings", 2048);
  // The table begins with rows for padding.
  config.position_offset = 2;
  config.learned_positions = config.max_positions + config.position_offset;
  config.norm = NormKind::kLayer;
  config.norm_epsilon = 1e-5;
  config.gated_feed_forward = false;
  config.activation = reader.ReadActivation("activation_function", "relu");
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", true);
  reader.Require("do_layer_norm_before", true);
  reader.Require("_remove_final_layer_norm", false);
  reader.Require("layer_norm_elementwise_affine", true);
  reader.Require("word_embed_proj_dim", config.hidden_size);
  CheckHeads(reader, config, false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return {
      {"embedding.weight", "model.decoder.embed_tokens.weight"},
      {"positions.weight", "model.decoder.embed_positions.weight"},
      {"layers.{}.attention_norm.weight", "model.decoder.layers.{}.self_attn_layer_norm.weight"},
      {"layers.{}.attention_norm.bias", "model.decoder.layers.{}.self_attn_layer_norm.bias"},
      {"layers.{}.attention.query.weight", "model.decoder.layers.{}.self_attn.q_proj.weight"},
      {"layers.{}.attention.query.bias", "model.decoder.layers.{}.self_attn.q_proj.bias", Packing::kPlain, true},
      {"layers.{}.attention.key.weight", "model.decoder.layers.{}.self_attn.k_proj.weight"},
      {"layers.{}.attention.key.bias", "model.decoder.layers.{}.self_attn.k_proj.bias", Packing::kPlain, true},
      {"layers.{}.attention.value.weight", "model.decoder.layers.{}.self_attn.v_proj.weight"},
      {"layers.{}.attention.value.bias", "model.decoder.layers.{}.self_attn.v_proj.bias", Packing::kPlain, true},
      {"layers.{}.attention.output.weight", "model.decoder.layers.{}.self_attn.out_proj.weight"},
      {"layers.{}.attention.output.bias", "model.decoder.layers.{}.self_attn.out_proj.bias", Packing::kPlain, true},
      {"layers.{}.feed_forward_norm.weight", "model.decoder.layers.{}.final_layer_norm.weight"},
      {"layers.{}.feed_forward_norm.bias", "model.decoder.layers.{}.final_layer_norm.bias"},
      {"layers.{}.feed_forward.up.weight", "model.decoder.layers.{}.fc1.weight"},
      {"layers.{}.feed_forward.up.bias", "model.decoder.layers.{}.fc1.bias", Packing::kPlain, true},
      {"layers.{}.feed_forward.down.weight", "model.decoder.layers.{}.fc2.weight"},
      {"layers.{}.feed_forward.down.bias", "model.decoder.layers.{}.fc2.bias", Packing::kPlain, true},
      {"final_norm.weight", "model.decoder.final_layer_norm.weight"},
      {"final_norm.bias", "model.decoder.final_layer_norm.bias"},
      {"head.weight", "lm_head.weight"},
  };
}

}  // namespace

const Family& OptFamily() {
  static const Family family{
      .model_types = {"opt"}, .read_config = ReadConfig, .names = Names(), .prefix = "model.", .standard_gqa = false};
  return family;
}

}  // namespace regroup
