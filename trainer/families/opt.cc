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
  reader.RequireOrNull("word_embed_proj_dim", config.hidden_size);
  reader.ReadBias(config, KeyOf(Bias::kByEnableBias), true);
  CheckHeads(reader, config, false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return NameRules()
      .Tensor("embedding.weight", "model.decoder.embed_tokens.weight")
      .Tensor("positions.weight", "model.decoder.embed_positions.weight")
      .LayerNorm("layers.{}.attention_norm", "model.decoder.layers.{}.self_attn_layer_norm")
      .Linear("layers.{}.attention.query", "model.decoder.layers.{}.self_attn.q_proj", Bias::kByEnableBias)
      .Linear("layers.{}.attention.key", "model.decoder.layers.{}.self_attn.k_proj", Bias::kByEnableBias)
      .Linear("layers.{}.attention.value", "model.decoder.layers.{}.self_attn.v_proj", Bias::kByEnableBias)
      .Linear("layers.{}.attention.output", "model.decoder.layers.{}.self_attn.out_proj", Bias::kByEnableBias)
      .LayerNorm("layers.{}.feed_forward_norm", "model.decoder.layers.{}.final_layer_norm")
      .Linear("layers.{}.feed_forward.up", "model.decoder.layers.{}.fc1", Bias::kByEnableBias)
      .Linear("layers.{}.feed_forward.down", "model.decoder.layers.{}.fc2", Bias::kByEnableBias)
      .LayerNorm("final_norm", "model.decoder.final_layer_norm")
      .Tensor("head.weight", "lm_head.weight")
      .rules();
}

}  // namespace

Family OptFamily() {
  return {.models = "OPT",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "OPTForCausalLM",
          .standard_gqa = false};
}

}  // namespace regroup
