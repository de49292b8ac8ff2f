#include "trainer/families/bart_layout.h"

#include <fmt/format.h>

#include <cmath>
#include <string>

namespace regroup {
namespace {

/// Fails unless encoder and decoder have the same number.
void CheckCommon(ConfigReader& reader, std::string_view name, int64_t of_encoder) {
  const int64_t of_decoder = reader.Integer(fmt::format("decoder_{}", name));
  if (of_decoder == of_encoder) return;
  reader.Fail(
      fmt::format("'encoder_{0}' is {1} and 'decoder_{0}' {2}; the two must be equal", name, of_encoder, of_decoder));
}

void AddAttention(NameRules& names, const std::string& ours, const std::string& layer, const std::string& attention,
                  Bias key_bias) {
  names.Linear(ours + ".attention.query", layer + attention + ".q_proj")
      .Linear(ours + ".attention.key", layer + attention + ".k_proj", key_bias)
      .Linear(ours + ".attention.value", layer + attention + ".v_proj")
      .Linear(ours + ".attention.output", layer + attention + ".out_proj")
      .LayerNorm(ours + ".attention_norm", layer + attention + "_layer_norm");
}

void AddFeedForward(NameRules& names, const std::string& ours, const std::string& layer) {
  names.Linear(ours + ".feed_forward.up", layer + "fc1")
      .Linear(ours + ".feed_forward.down", layer + "fc2")
      .LayerNorm(ours + ".feed_forward_norm", layer + "final_layer_norm");
}

}  // namespace

ModelConfig ReadBartConfig(ConfigReader& reader, std::string_view family, const BartDefaults& defaults) {
  ModelConfig config{.family = std::string(family)};
  config.hidden_size = reader.IntegerOfAny({"hidden_size", "d_model"});
  config.encoder_layers = reader.IntegerOfAny({"num_hidden_layers", "encoder_layers"});
  config.layers = config.encoder_layers + 2 * reader.Layers("decoder_layers");
  config.heads = config.kv_heads = reader.IntegerOfAny({"num_attention_heads", "encoder_attention_heads"});
  CheckCommon(reader, "attention_heads", config.heads);
  config.head_width = config.hidden_size / config.heads;
  config.intermediate_size = reader.Integer("encoder_ffn_dim");
  CheckCommon(reader, "ffn_dim", config.intermediate_size);
  config.vocabulary = reader.Integer("vocab_size");
  // Positions of encoder and decoder together.
  config.max_positions = 2 * reader.IntegerOr(defaults.positions_key, defaults.positions);
  config.norm = NormKind::kLayer;
  config.norm_epsilon = 1e-5;
  config.gated_feed_forward = false;
  config.activation = reader.ReadActivation("activation_function", defaults.activation);
  const nlohmann::json* scales = reader.Find("scale_embedding");
  const bool is_null = defaults.scale_may_be_null && scales != nullptr && scales->is_null();
  if (!is_null && reader.BooleanOr("scale_embedding", defaults.scales_embedding)) {
    config.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  }
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", true);
  const nlohmann::json* start = reader.Find("decoder_start_token_id");
  config.decoder_start_token = start != nullptr && start->is_null()
                                   ? defaults.decoder_start_token
                                   : reader.IndexOr("decoder_start_token_id", defaults.decoder_start_token);
  CheckHeads(reader, config, false);
  return config;
}

void ReadBartPositions(ModelConfig& config) {
  config.position_offset = 2;
  config.learned_positions = config.max_positions / 2 + config.position_offset;
  config.embedding_norm = true;
}

void ReadSinusoidalPositions(ConfigReader& reader, ModelConfig& config, double divisor) {
  if (config.hidden_size % 2 != 0) reader.Fail(fmt::format("'d_model' is {}, but must be even", config.hidden_size));
  config.sinusoidal.divisor = divisor;
}

std::vector<NameRule> BartNames(const BartParts& parts) {
  NameRules names;
  names.Tensor("embedding.weight", parts.embedding).Tensor("head.weight", parts.head);
  if (parts.learned_positions) {
    names.Tensor("positions.weight", "model.decoder.embed_positions.weight")
        .Tensor("encoder_positions.weight", "model.encoder.embed_positions.weight");
  }
  if (parts.embedding_norm) {
    names.LayerNorm("embedding_norm", "model.decoder.layernorm_embedding")
        .LayerNorm("encoder_embedding_norm", "model.encoder.layernorm_embedding");
  }
  if (parts.final_norm) {
    names.LayerNorm("final_norm", "model.decoder.layer_norm").LayerNorm("encoder_norm", "model.encoder.layer_norm");
  }
  const Bias key_bias = parts.key_bias ? Bias::kAlways : Bias::kNone;
  AddAttention(names, "encoder.{}", "model.encoder.layers.{}.", "self_attn", key_bias);
  AddFeedForward(names, "encoder.{}", "model.encoder.layers.{}.");
  AddAttention(names, "decoder.{}", "model.decoder.layers.{}.", "self_attn", key_bias);
  AddAttention(names, "cross.{}", "model.decoder.layers.{}.", "encoder_attn", key_bias);
  AddFeedForward(names, "cross.{}", "model.decoder.layers.{}.");
  std::vector<NameRule> rules = names.rules();
  if (parts.logits_bias) {
    rules.push_back({.ours = "head.bias", .checkpoint = "final_logits_bias", .packing = Packing::kRow});
  }
  return rules;
}

std::vector<std::string_view> BartEmbeddingCopies() {
  return {"model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"};
}

std::vector<std::string_view> BartPositions() {
  return {"model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"};
}

}  // namespace regroup
