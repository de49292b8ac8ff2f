// Reads the config.json keys that GPT-2 and GPT-J share.
#pragma once

#include <string_view>

#include "trainer/families/llama_layout.h"

namespace regroup {

/// Reads sizes, LayerNorm and plain feed-forward, with the class's default for n_positions. Each family reads its own
/// positions.
ModelConfig ReadGptConfig(ConfigReader& reader, std::string_view family, int64_t max_positions);

}  // namespace regroup
