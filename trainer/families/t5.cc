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

void ReadFeedForward(ConfigReader& reader, ModelConfig& config) {
  const std::string kind = reader.TextOr("feed_forward_proj", "relu");
  config.gated_feed_forward = kind == "gated-gelu" || kind == "gated-silu";
  if (kind == "relu") {
    config.activation = Activation::kRelu;
  } else if (kind == "gated-gelu") {
    config.activation = Activation::kGeluTanh;
  } else if (kind == "gated-silu") {
    config.activation = Activation::kSilu;
  } else {
    reader.Fail(fmt::format("config.json: feed_forward_proj '{}' is not one of relu, gated-gelu and gated-silu", kind));
  }
}

/// The decoder's output is scaled unless the checkpoint has a separate output head (T5 1.1).
bool ScalesOutput(ConfigReader& reader) {
  return reader.BooleanOr("scale_decoder_outputs", reader.BooleanOr("tie_word_embeddings", true));
}

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config{.family = "t5"};
  config.hidden_size = reader.Integer("d_model");
  config.encoder_layers = reader.Integer("num_layers");
  config.layers = config.encoder_layers + 2 * reader.IntegerOr("num_decoder_layers", config.encoder_layers);
  config.heads = config.kv_heads = reader.Integer("num_heads");
  config.head_width = reader.Integer("d_kv");
  config.intermediate_size = reader.Integer("d_ff");
  config.vocabulary = reader.Integer("vocab_size");
  // Positions of encoder and decoder together. The biases would extend further, but the model was trained for this
  // length.
  config.max_positions = 2 * reader.IntegerOr("n_positions", 512);
  config.norm_epsilon = reader.NumberOr("layer_norm_epsilon", 1e-6);
  config.relative_bias = {.buckets = reader.IntegerOr("relative_attention_num_buckets", 32),
                          .max_distance = reader.IntegerOr("relative_attention_max_distance", 128)};
  config.scaled_attention = false;
  ReadFeedForward(reader, config);
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", true);
  if (ScalesOutput(reader)) config.output_scale = 1.0 / std::sqrt(static_cast<double>(config.hidden_size));
  config.decoder_start_token = reader.IntegerOr("decoder_start_token_id", 0);
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
  return {.read_config = ReadConfig,
          .names = Names(),
          .embedding_copies = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"},
          .write_untied = WriteUntiedT5,
          .standard_gqa = false};
}

}  // namespace regroup
