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

absl::StatusOr<ModelConfig> Finish(ConfigReader& reader, ModelConfig config) {
  reader.CheckSizes(config);
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

NameRules LlamaNames(const LlamaBiases& biases) {
  return NameRules()
      .Tensor("embedding.weight", "model.embed_tokens.weight")
      .RmsNorm("layers.{}.attention_norm", "model.layers.{}.input_layernorm")
      .Linear("layers.{}.attention.query", "model.layers.{}.self_attn.q_proj", biases.query_key_value)
      .Linear("layers.{}.attention.key", "model.layers.{}.self_attn.k_proj", biases.query_key_value)
      .Linear("layers.{}.attention.value", "model.layers.{}.self_attn.v_proj", biases.query_key_value)
      .Linear("layers.{}.attention.output", "model.layers.{}.self_attn.o_proj", biases.attention_output)
      .RmsNorm("layers.{}.feed_forward_norm", "model.layers.{}.post_attention_layernorm")
      .Linear("layers.{}.feed_forward.gate", "model.layers.{}.mlp.gate_proj", biases.feed_forward)
      .Linear("layers.{}.feed_forward.up", "model.layers.{}.mlp.up_proj", biases.feed_forward)
      .Linear("layers.{}.feed_forward.down", "model.layers.{}.mlp.down_proj", biases.feed_forward)
      .RmsNorm("final_norm", "model.norm")
      .Tensor("head.weight", "lm_head.weight");
}

}  // namespace regroup
