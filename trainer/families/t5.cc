// T5 and T5 1.1: encoder and decoder with relative position biases, attention without scaling, no biases on
// projections.
//
// A decoder layer becomes two layers here: its self-attention, and its cross attention with the feed-forward
// (AttentionRole).
#include <fmt/format.h>

#include <cmath>

#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

/// Reads "relu" or "gated-gelu"; the keys that Transformers derives from it, and saves, override it.
void ReadFeedForward(ConfigReader& reader, ModelConfig& config) {
  constexpr std::string_view kGated = "gated-";
  const std::string kind = reader.TextOr("feed_forward_proj", "relu");
  const bool gated = kind.starts_with(kGated);
  std::string activation = gated ? kind.substr(kGated.size()) : kind;
  if (activation.find('-') != std::string::npos) {
    reader.Fail(fmt::format("feed_forward_proj '{}' is neither the name of an activation nor gated-NAME", kind));
  }
  // The name of T5 1.1 for the approximation.
  if (kind == "gated-gelu") activation = "gelu_new";
  const nlohmann::json* saved = reader.Find("is_gated_act");
  config.gated_feed_forward = (saved == nullptr || !saved->is_null()) && reader.BooleanOr("is_gated_act", gated);
  const std::string_view key = reader.Find("dense_act_fn") != nullptr ? "dense_act_fn" : "feed_forward_proj";
  config.activation = reader.ActivationNamed(reader.TextOr("dense_act_fn", activation), key);
}

/// The decoder's output is scaled unless tie_word_embeddings is false, as in T5 1.1. Transformers 5 ties embeddings
/// whatever that key says, and saves this meaning of it under a key of its own.
bool ScalesOutput(ConfigReader& reader) {
  const nlohmann::json* scaled = reader.Find("scale_decoder_outputs");
  if (scaled != nullptr) return !scaled->is_null() && reader.BooleanOr("scale_decoder_outputs", false);
  const nlohmann::json* tied = reader.Find("tie_word_embeddings");
  return tied == nullptr || *tied != false;
}

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config{.family = "t5"};
  config.hidden_size = reader.IntegerOfAny({"hidden_size", "d_model"});
  config.encoder_layers = reader.IntegerOfAny({"num_hidden_layers", "num_layers"});
  const int64_t decoder_layers = reader.OptionalInteger("num_decoder_layers", 0);
  config.layers = config.encoder_layers + 2 * (decoder_layers > 0 ? decoder_layers : reader.IntegerOr("num_layers", 6));
  config.heads = config.kv_heads = reader.IntegerOfAny({"num_attention_heads", "num_heads"});
  config.head_width = reader.IntegerOfAny({"head_dim", "d_kv"});
  config.intermediate_size = reader.Integer("d_ff");
  config.vocabulary = reader.Integer("vocab_size");
  // Positions of encoder and decoder together. The biases would extend further, but the model was trained for this
  // length.
  const int64_t positions = reader.OptionalInteger("n_positions", 512);
  config.max_positions = 2 * (positions > 0 ? positions : 512);
  config.norm_epsilon = reader.NumberOr("layer_norm_epsilon", 1e-6);
  config.relative_bias = {.buckets = reader.IntegerOr("relative_attention_num_buckets", 32),
                          .max_distance = reader.IntegerOr("relative_attention_max_distance", 128)};
  config.attention_scale = 1;
  ReadFeedForward(reader, config);
  config.tied_embeddings = true;
  if (ScalesOutput(reader)) config.output_scale = 1.0 / std::sqrt(static_cast<double>(config.hidden_size));
  config.decoder_start_token = reader.IndexOr("decoder_start_token_id", 0);
  CheckHeads(reader, config, true);
  return Finish(reader, std::move(config));
}

void AddAttention(NameRules& names, const std::string& ours, const std::string& sublayer,
                  const std::string& attention) {
  names.RmsNorm(ours + ".attention_norm", sublayer + ".layer_norm")
      .Linear(ours + ".attention.query", sublayer + attention + ".q", Bias::kNone)
      .Linear(ours + ".attention.key", sublayer + attention + ".k", Bias::kNone)
      .Linear(ours + ".attention.value", sublayer + attention + ".v", Bias::kNone)
      .Linear(ours + ".attention.output", sublayer + attention + ".o", Bias::kNone);
}

void AddFeedForward(NameRules& names, const std::string& ours, const std::string& sublayer) {
  const std::string dense = sublayer + ".DenseReluDense";
  names.RmsNorm(ours + ".feed_forward_norm", sublayer + ".layer_norm")
      .FeedForwardTensor(ours + ".feed_forward.up.weight", dense + ".wi.weight", /*gated=*/false)
      .FeedForwardTensor(ours + ".feed_forward.gate.weight", dense + ".wi_0.weight", /*gated=*/true)
      .FeedForwardTensor(ours + ".feed_forward.up.weight", dense + ".wi_1.weight", /*gated=*/true)
      .Linear(ours + ".feed_forward.down", dense + ".wo", Bias::kNone);
}

std::vector<NameRule> Names() {
  NameRules names;
  names.Tensor("embedding.weight", "shared.weight")
      .Tensor("encoder_relative_bias.weight", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight")
      .Tensor("decoder_relative_bias.weight", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
  AddAttention(names, "encoder.{}", "encoder.block.{}.layer.0", ".SelfAttention");
  AddAttention(names, "decoder.{}", "decoder.block.{}.layer.0", ".SelfAttention");
  AddAttention(names, "cross.{}", "decoder.block.{}.layer.1", ".EncDecAttention");
  AddFeedForward(names, "encoder.{}", "encoder.block.{}.layer.1");
  AddFeedForward(names, "cross.{}", "decoder.block.{}.layer.2");
  names.RmsNorm("encoder_norm", "encoder.final_layer_norm")
      .RmsNorm("final_norm", "decoder.final_layer_norm")
      .Tensor("head.weight", "lm_head.weight");
  return names.rules();
}

/// The class scales the output unless tie_word_embeddings is false, so that the scale needs a key of its own.
void WriteUntiedT5(nlohmann::json& config) {
  if (!config.contains("scale_decoder_outputs")) {
    config["scale_decoder_outputs"] = config.value("tie_word_embeddings", nlohmann::json()) != false;
  }
  WriteUntied(config);
}

}  // namespace

Family T5Family() {
  return {.models = "T5",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "T5ForConditionalGeneration",
          .embedding_copies = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"},
          .write_untied = WriteUntiedT5,
          .standard_gqa = false};
}

}  // namespace regroup
