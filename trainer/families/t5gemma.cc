// T5Gemma: an encoder and a decoder of Gemma 2's layers, with a norm on both sides of the cross attention.
#include <fmt/format.h>

#include <algorithm>

#include "trainer/families/gemma_layout.h"

namespace regroup {
namespace {

constexpr std::string_view kEncoder = "encoder", kDecoder = "decoder";

/// Reads a section as a Gemma 2.
absl::StatusOr<ModelConfig> ReadStack(const nlohmann::json& json, std::string_view section) {
  const auto found = json.find(std::string(section));
  if (found == json.end() || !found->is_object()) {
    return absl::InvalidArgumentError(fmt::format("config.json: '{}' must be an object", section));
  }
  ConfigReader reader(*found);
  ModelConfig config = ReadGemma2Config(reader, "t5gemma");
  if (section == kDecoder) {
    config.decoder_start_token = reader.IndexOr("bos_token_id", 2);
    reader.CheckInVocabulary("bos_token_id", config.decoder_start_token, config);
  }
  const auto read = Finish(reader, std::move(config));
  if (read.ok()) return read;
  return absl::InvalidArgumentError(fmt::format("{} (in '{}')", std::string(read.status().message()), section));
}

/// Returns a key whose value encoder and decoder must have in common, and do not; empty if there is none.
std::string_view Different(const ModelConfig& encoder, const ModelConfig& decoder) {
  if (encoder.hidden_size != decoder.hidden_size) return "hidden_size";
  if (encoder.heads != decoder.heads) return "num_attention_heads";
  if (encoder.kv_heads != decoder.kv_heads) return "num_key_value_heads";
  if (encoder.head_width != decoder.head_width) return "head_dim";
  if (encoder.intermediate_size != decoder.intermediate_size) return "intermediate_size";
  if (encoder.vocabulary != decoder.vocabulary) return "vocab_size";
  if (encoder.max_positions != decoder.max_positions) return "max_position_embeddings";
  if (encoder.activation != decoder.activation) return "hidden_activation";
  if (encoder.norm_epsilon != decoder.norm_epsilon) return "rms_norm_eps";
  if (encoder.attention_scale != decoder.attention_scale) return "query_pre_attn_scalar";
  if (encoder.attention_soft_cap != decoder.attention_soft_cap) return "attn_logit_softcapping";
  if (encoder.bias_keys != decoder.bias_keys) return "attention_bias";
  return "";
}

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  const auto encoder = ReadStack(json, kEncoder), decoder = ReadStack(json, kDecoder);
  for (const auto* stack : {&encoder, &decoder}) {
    if (!stack->ok()) return stack->status();
  }
  ConfigReader reader(json);
  if (const std::string_view key = Different(*encoder, *decoder); !key.empty()) {
    reader.Fail(fmt::format("'{}' must be the same in 'encoder' and 'decoder'", key));
  }
  ModelConfig config = *decoder;
  config.encoder_layers = encoder->layers;
  config.layers = encoder->layers + 2 * decoder->layers;
  config.max_positions = 2 * decoder->max_positions;
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", true);
  // Cross attention does not rotate.
  const AttentionKind cross;
  config.kinds.clear();
  config.kind_of_layers.clear();
  const auto add = [&](const AttentionKind& kind) {
    const auto found = std::ranges::find(config.kinds, kind);
    config.kind_of_layers.push_back(found - config.kinds.begin());
    if (found == config.kinds.end()) config.kinds.push_back(kind);
  };
  for (int64_t layer = 0; layer < encoder->layers; ++layer) add(encoder->Kind(layer));
  for (int64_t layer = 0; layer < decoder->layers; ++layer) {
    add(decoder->Kind(layer));
    add(cross);
  }
  return Finish(reader, std::move(config));
}

void AddAttention(NameRules& names, const std::string& ours, const std::string& layer, const std::string& attention) {
  names.Linear(ours + ".attention.query", layer + attention + ".q_proj", Bias::kByAttentionBias)
      .Linear(ours + ".attention.key", layer + attention + ".k_proj", Bias::kByAttentionBias)
      .Linear(ours + ".attention.value", layer + attention + ".v_proj", Bias::kByAttentionBias)
      .Linear(ours + ".attention.output", layer + attention + ".o_proj", Bias::kByAttentionBias)
      .RmsNorm(ours + ".attention_norm", layer + "pre_" + attention + "_layernorm")
      .RmsNorm(ours + ".attention_output_norm", layer + "post_" + attention + "_layernorm");
}

void AddFeedForward(NameRules& names, const std::string& ours, const std::string& layer) {
  names.Linear(ours + ".feed_forward.gate", layer + "mlp.gate_proj", Bias::kNone)
      .Linear(ours + ".feed_forward.up", layer + "mlp.up_proj", Bias::kNone)
      .Linear(ours + ".feed_forward.down", layer + "mlp.down_proj", Bias::kNone)
      .RmsNorm(ours + ".feed_forward_norm", layer + "pre_feedforward_layernorm")
      .RmsNorm(ours + ".feed_forward_output_norm", layer + "post_feedforward_layernorm");
}

std::vector<NameRule> Names() {
  NameRules names;
  names.Tensor("embedding.weight", "model.decoder.embed_tokens.weight")
      .Tensor("encoder_embedding.weight", "model.encoder.embed_tokens.weight")
      .RmsNorm("encoder_norm", "model.encoder.norm")
      .RmsNorm("final_norm", "model.decoder.norm")
      .Tensor("head.weight", "lm_head.out_proj.weight");
  AddAttention(names, "encoder.{}", "model.encoder.layers.{}.", "self_attn");
  AddFeedForward(names, "encoder.{}", "model.encoder.layers.{}.");
  AddAttention(names, "decoder.{}", "model.decoder.layers.{}.", "self_attn");
  AddAttention(names, "cross.{}", "model.decoder.layers.{}.", "cross_attn");
  AddFeedForward(names, "cross.{}", "model.decoder.layers.{}.");
  return names.rules();
}

}  // namespace

Family T5gemmaFamily() {
  return {.models = "T5Gemma",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "T5GemmaForConditionalGeneration",
          .head_sections = {kEncoder, kDecoder}};
}

}  // namespace regroup
