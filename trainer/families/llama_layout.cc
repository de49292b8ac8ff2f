#include "trainer/families/llama_layout.h"

#include <fmt/format.h>

namespace regroup {

void CheckHeads(ConfigReader& reader, const ModelConfig& config, bool head_width_written) {
  if (config.heads % config.kv_heads != 0) {
    reader.Fail(
        fmt::format("num_key_value_heads {} does not divide num_attention_heads {}", config.kv_heads, config.heads));
  }
  if (!head_width_written && config.hidden_size % config.heads != 0) {
    reader.Fail(fmt::format("{} heads do not divide the hidden size {}", config.heads, config.hidden_size));
  }
}

absl::StatusOr<ModelConfig> Finish(const ConfigReader& reader, ModelConfig config) {
  if (!reader.status().ok()) return reader.status();
  return config;
}

ModelConfig ReadLlamaConfig(ConfigReader& reader, std::string_view family, double rotary_share) {
  ModelConfig config{.family = std::string(family)};
  config.hidden_size = reader.Integer("hidden_size");
  config.layers = reader.Integer("num_hidden_layers");
  config.heads = reader.Integer("num_attention_heads");
  config.kv_heads = reader.IntegerOr("num_key_value_heads", config.heads);
  const int64_t written_width = reader.IntegerOr("head_dim", 0);
  config.head_width = written_width > 0 ? written_width : config.hidden_size / config.heads;
  config.intermediate_size = reader.Integer("intermediate_size");
  config.vocabulary = reader.Integer("vocab_size");
  config.max_positions = reader.IntegerOr("max_position_embeddings", 2048);
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-6);
  config.activation = reader.ReadActivation("hidden_act", "silu");
  config.rotary = reader.ReadRotary(config.head_width, rotary_share);
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", false);
  CheckHeads(reader, config, written_width > 0);
  return config;
}

std::vector<NameRule> LlamaNames() {
  return {
      {"embedding.weight", "model.embed_tokens.weight"},
      {"layers.{}.attention_norm.weight", "model.layers.{}.input_layernorm.weight"},
      {"layers.{}.attention.query.weight", "model.layers.{}.self_attn.q_proj.weight"},
      {"layers.{}.attention.query.bias", "model.layers.{}.self_attn.q_proj.bias", Packing::kPlain, true},
      {"layers.{}.attention.key.weight", "model.layers.{}.self_attn.k_proj.weight"},
      {"layers.{}.attention.key.bias", "model.layers.{}.self_attn.k_proj.bias", Packing::kPlain, true},
      {"layers.{}.attention.value.weight", "model.layers.{}.self_attn.v_proj.weight"},
      {"layers.{}.attention.value.bias", "model.layers.{}.self_attn.v_proj.bias", Packing::kPlain, true},
      {"layers.{}.attention.output.weight", "model.layers.{}.self_attn.o_proj.weight"},
      {"layers.{}.attention.output.bias", "model.layers.{}.self_attn.o_proj.bias", Packing::kPlain, true},
      {"layers.{}.feed_forward_norm.weight", "model.layers.{}.post_attention_layernorm.weight"},
      {"layers.{}.feed_forward.gate.weight", "model.layers.{}.mlp.gate_proj.weight"},
      {"layers.{}.feed_forward.gate.bias", "model.layers.{}.mlp.gate_proj.bias", Packing::kPlain, true},
      {"layers.{}.feed_forward.up.weight", "model.layers.{}.mlp.up_proj.weight"},
      {"layers.{}.feed_forward.up.bias", "model.layers.{}.mlp.up_proj.bias", Packing::kPlain, true},
      {"layers.{}.feed_forward.down.weight", "model.layers.{}.mlp.down_proj.weight"},
      {"layers.{}.feed_forward.down.bias", "model.layers.{}.mlp.down_proj.bias", Packing::kPlain, true},
      {"final_norm.weight", "model.norm.weight"},
      {"head.weight", "lm_head.weight"},
  };
}

}  // namespace regroup
