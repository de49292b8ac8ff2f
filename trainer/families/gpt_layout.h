// Describes what GPT-2 shares with GPT-J, and with GPT-BigCode.
#pragma once

#include <string_view>
#include <vector>

#include "trainer/families/llama_layout.h"

namespace regroup {

/// Reads sizes, LayerNorm and plain feed-forward, with the class's default for n_positions. Each family reads its own
/// positions.
ModelConfig ReadGptConfig(ConfigReader& reader, std::string_view family, int64_t max_positions);

/// Reads the configuration of GPT-2.
ModelConfig ReadGpt2Config(ConfigReader& reader, std::string_view family);

/// The layout of GPT-2's projections.
struct Gpt2Packing {
  Packing linear, attention;
};

/// Returns GPT-2's names.
std::vector<NameRule> Gpt2Names(const Gpt2Packing& packing);

}  // namespace regroup
