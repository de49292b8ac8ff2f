// GPT-NeoX and Pythia: fused query, key and value by head, partial rotation, parallel blocks.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config{.family = "gpt_neox"};
  config.hidden_size = reader.Integer("hidden_size");
  config.layers = reader.Integer("num_hidden_layers");
  config.heads = config.kv_heads = reader.Integer("num_attention_heads");
  config.head_width = config.hidden_size / config.heads;
  // The class splits heads by the hidden size, but computes frequencies for head_dim.
  reader.RequireOrNull("head_dim", config.head_width);
  config.intermediate_size = reader.Integer("intermediate_size");
  config.vocabulary = reader.Integer("vocab_size");
  config.max_positions = reader.IntegerOr("max_position_embeddings", 2048);
  config.norm = NormKind::kLayer;
  config.norm_epsilon = reader.NumberOr("layer_norm_eps", 1e-5);
  const bool parallel = reader.BooleanOr("use_parallel_residual", true);
  config.layout = parallel ? BlockLayout::kParallelTwoNorms : BlockLayout::kSequential;
  config.gated_feed_forward = false;
  config.activation = reader.ReadActivation("hidden_act", "gelu");
  config.kinds[0].rotary = ReadRotary(
      reader, config, {.theta = "rotary_emb_base", .share = "rotary_pct", .default_share = 0.25, .partial = true});
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", false);
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), true);
  CheckHeads(reader, config, false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return NameRules()
      .Tensor("embedding.weight", "gpt_neox.embed_in.weight")
      .LayerNorm("layers.{}.attention_norm", "gpt_neox.layers.{}.input_layernorm")
      .FusedAttention("gpt_neox.layers.{}.attention.query_key_value", Bias::kByAttentionBias, Packing::kFusedByHead)
      .Linear("layers.{}.attention.output", "gpt_neox.layers.{}.attention.dense", Bias::kByAttentionBias)
      .LayerNorm("layers.{}.feed_forward_norm", "gpt_neox.layers.{}.post_attention_layernorm")
      .Linear("layers.{}.feed_forward.up", "gpt_neox.layers.{}.mlp.dense_h_to_4h")
      .Linear("layers.{}.feed_forward.down", "gpt_neox.layers.{}.mlp.dense_4h_to_h")
      .LayerNorm("final_norm", "gpt_neox.final_layer_norm")
      .Tensor("head.weight", "embed_out.weight")
      .rules();
}

}  // namespace

Family GptneoxFamily() {
  // Transformers 5 calls the head lm_head in memory; weights that others save from there have that name.
  return {.models = "GPT-NeoX, Pythia",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "GPTNeoXForCausalLM",
          .head_alias = "lm_head.weight",
          .standard_gqa = false};
}

}  // namespace regroup
