// Layout that LLaMA shares with the families that adopted its names: model.layers.{}.self_attn.q_proj and so on.
#pragma once

#include <string_view>
#include <vector>

#include "trainer/families/config_reader.h"
#include "trainer/families/family.h"
#include "trainer/families/name_rules.h"
#include "trainer/families/rotary_keys.h"

namespace regroup {

/// The defaults of a configuration class that shares LLaMA's keys.
struct LlamaDefaults {
  /// 0 for as many as num_attention_heads.
  int64_t kv_heads = 0;
  bool kv_heads_may_be_null = true;
  /// 0 for hidden_size / num_attention_heads.
  int64_t head_width = 0;
  bool head_width_may_be_null = false;
  int64_t max_positions = 2048;
  std::string_view activation_key = "hidden_act";
  std::string_view activation = "silu";
  bool tied = false;
  RotaryKeys rotary;
  /// True if the family reads the rotation itself, because it depends on the layer's type.
  bool rotary_by_layer_type = false;
};

/// Reads sizes, RMSNorm, rotation and gated feed-forward.
ModelConfig ReadLlamaConfig(ConfigReader& reader, std::string_view family, const LlamaDefaults& defaults);

/// Fails if the number of KV heads does not divide the number of heads, or if no head width is given and the number of
/// heads does not divide the hidden size.
void CheckHeads(ConfigReader& reader, const ModelConfig& config, bool head_width_written);

/// Returns the configuration, or the first error of the reader. Every family's read_config ends with it.
absl::StatusOr<ModelConfig> Finish(ConfigReader& reader, ModelConfig config);

/// Says which projections of a family with LLaMA's names have a bias.
struct LlamaBiases {
  Bias query_key_value = Bias::kNone;
  Bias attention_output = Bias::kNone;
  Bias feed_forward = Bias::kNone;
};

/// Biases that attention_bias, or attention_bias and mlp_bias, decide.
inline constexpr LlamaBiases kAttentionBiases{.query_key_value = Bias::kByAttentionBias,
                                              .attention_output = Bias::kByAttentionBias};
inline constexpr LlamaBiases kAllBiases{.query_key_value = Bias::kByAttentionBias,
                                        .attention_output = Bias::kByAttentionBias,
                                        .feed_forward = Bias::kByMlpBias};

NameRules LlamaNames(const LlamaBiases& biases);

/// Adds the norms of queries and keys.
NameRules WithQueryKeyNorms(NameRules rules);

struct TextSizes {
  int64_t vocabulary = 0, hidden = 0, intermediate = 0, layers = 0, heads = 0;
};

/// Returns Family::text_defaults under LLaMA's keys.
nlohmann::json TextDefaults(const TextSizes& sizes);

}  // namespace regroup
