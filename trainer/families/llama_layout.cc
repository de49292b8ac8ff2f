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

ModelConfig ReadLlamaConfig(ConfigReader& reader, std::string_view family, const LlamaDefaults& defaults) {
  ModelConfig config{.family = std::string(family)};
  config.hidden_size = reader.Integer("hidden_size");
  config.layers = reader.Layers("num_hidden_layers");
  config.heads = reader.Integer("num_attention_heads");
  const int64_t kv_heads = defaults.kv_heads_may_be_null
                               ? reader.OptionalInteger("num_key_value_heads", defaults.kv_heads)
                               : reader.IntegerOr("num_key_value_heads", defaults.kv_heads);
  config.kv_heads = kv_heads > 0 ? kv_heads : config.heads;
  const int64_t width = defaults.head_width_may_be_null ? reader.OptionalInteger("head_dim", defaults.head_width)
                                                        : reader.IntegerOr("head_dim", defaults.head_width);
  config.head_width = width > 0 ? width : config.hidden_size / config.heads;
  config.intermediate_size = reader.Integer("intermediate_size");
  config.vocabulary = reader.Integer("vocab_size");
  config.max_positions = reader.IntegerOr("max_position_embeddings", defaults.max_positions);
  config.activation = reader.ReadActivation(defaults.activation_key, defaults.activation);
  if (!defaults.rotary_by_layer_type) config.kinds[0].rotary = ReadRotary(reader, config, defaults.rotary);
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", defaults.tied);
  CheckHeads(reader, config, width > 0);
  return config;
}

NameRules WithQueryKeyNorms(NameRules rules) {
  return rules.RmsNorm("layers.{}.attention.query_norm", "model.layers.{}.self_attn.q_norm")
      .RmsNorm("layers.{}.attention.key_norm", "model.layers.{}.self_attn.k_norm");
}

nlohmann::json TextDefaults(const TextSizes& sizes) {
  return {{"vocab_size", sizes.vocabulary},
          {"hidden_size", sizes.hidden},
          {"intermediate_size", sizes.intermediate},
          {"num_hidden_layers", sizes.layers},
          {"num_attention_heads", sizes.heads}};
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
