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
  config.intermediate_size = reader.Integer("intermediate_size");
  config.vocabulary = reader.Integer("vocab_size");
  config.max_positions = reader.IntegerOr("max_position_embeddings", 2048);
  config.norm = NormKind::kLayer;
  config.norm_epsilon = reader.NumberOr("layer_norm_eps", 1e-5);
  const bool parallel = reader.BooleanOr("use_parallel_residual", true);
  config.layout = parallel ? BlockLayout::kParallelTwoNorms : BlockLayout::kSequential;
  config.gated_feed_forward = false;
  config.activation = reader.ReadActivation("hidden_act", "gelu");
  config.rotary = reader.ReadRotary(config.head_width, 0.25);
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", false);
  CheckHeads(reader, config, false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  constexpr std::string_view kFused = "gpt_neox.layers.{}.attention.query_key_value.weight";
  constexpr std::string_view kFusedBias = "gpt_neox.layers.{}.attention.query_key_value.bias";
  return {
      {"embedding.weight", "gpt_neox.embed_in.weight"},
      {"layers.{}.attention_norm.weight", "gpt_neox.layers.{}.input_layernorm.weight"},
      {"layers.{}.attention_norm.bias", "gpt_neox.layers.{}.input_layernorm.bias"},
      {"layers.{}.attention.query.weight", kFused, Packing::kFusedByHead},
      {"layers.{}.attention.key.weight", kFused, Packing::kFusedByHead},
      {"layers.{}.attention.value.weight", kFused, Packing::kFusedByHead},
      {"layers.{}.attention.query.bias", kFusedBias, Packing::kFusedByHead, true},
      {"layers.{}.attention.key.bias", kFusedBias, Packing::kFusedByHead, true},
      {"layers.{}.attention.value.bias", kFusedBias, Packing::kFusedByHead, true},
      {"layers.{}.attention.output.weight", "gpt_neox.layers.{}.attention.dense.weight"},
      {"layers.{}.attention.output.bias", "gpt_neox.layers.{}.attention.dense.bias", Packing::kPlain, true},
      {"layers.{}.feed_forward_norm.weight", "gpt_neox.layers.{}.post_attention_layernorm.weight"},
      {"layers.{}.feed_forward_norm.bias", "gpt_neox.layers.{}.post_attention_layernorm.bias"},
      {"layers.{}.feed_forward.up.weight", "gpt_neox.layers.{}.mlp.dense_h_to_4h.weight"},
      {"layers.{}.feed_forward.up.bias", "gpt_neox.layers.{}.mlp.dense_h_to_4h.bias"},
      {"layers.{}.feed_forward.down.weight", "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight"},
      {"layers.{}.feed_forward.down.bias", "gpt_neox.layers.{}.mlp.dense_4h_to_h.bias"},
      {"final_norm.weight", "gpt_neox.final_layer_norm.weight"},
      {"final_norm.bias", "gpt_neox.final_layer_norm.bias"},
      {"head.weight", "embed_out.weight"},
  };
}

}  // namespace

const Family& GptNeoXFamily() {
  static const Family family{
      .model_types = {"gpt_neox"}, .read_config = ReadConfig, .names = Names(), .standard_gqa = false};
  return family;
}

}  // namespace regroup
