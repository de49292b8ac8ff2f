// What LLaMA shares with the families that took over its names: model.layers.{}.self_attn.q_proj and so on.
#pragma once

#include <string_view>
#include <vector>

#include "trainer/families/config_reader.h"
#include "trainer/families/family.h"
#include "trainer/families/name_rules.h"

namespace regroup {

/// Sizes, RMSNorm, gated feed-forward, full rotation unless partial_rotary_factor says otherwise.
ModelConfig ReadLlamaConfig(ConfigReader& reader, std::string_view family, double rotary_share = 1.0);

/// Fails where KV heads do not divide the heads, or heads the hidden size while no head width is written.
void CheckHeads(ConfigReader& reader, const ModelConfig& config, bool head_width_written);

/// The end of every family's read_config.
absl::StatusOr<ModelConfig> Finish(ConfigReader& reader, ModelConfig config);

NameRules LlamaNames();

}  // namespace regroup
