// Layout that LLaMA shares with the families that adopted its names: model.layers.{}.self_attn.q_proj and so on.
#pragma once

#include <string_view>
#include <vector>

#include "trainer/families/config_reader.h"
#include "trainer/families/family.h"
#include "trainer/families/name_rules.h"

namespace regroup {

/// Reads sizes, RMSNorm and gated feed-forward; rotation is full unless partial_rotary_factor is given.
ModelConfig ReadLlamaConfig(ConfigReader& reader, std::string_view family, double rotary_share = 1.0);

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
