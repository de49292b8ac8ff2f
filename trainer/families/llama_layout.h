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
  std::string_view activation = "silu";
  bool tied = false;
  RotaryKeys rotary;
};

/// Reads sizes, RMSNorm, rotation and gated feed-forward.
ModelConfig ReadLlamaConfig(ConfigReader& reader, std::string_view family, const LlamaDefaults& defaults);

/// Fails if a layer has a sliding window, for the classes that give one to some layers only.
void RequireFullAttention(ConfigReader& reader, const ModelConfig& config);

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

NameRules LlamaNames(const LlamaBiases& biases);

}  // namespace regroup
