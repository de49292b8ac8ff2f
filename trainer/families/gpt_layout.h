// Reads the config.json keys that GPT-2 and GPT-J share.
#pragma once

#include <string_view>

#include "trainer/families/llama_layout.h"

namespace regroup {

/// Reads sizes, LayerNorm and plain feed-forward. Each family reads its own positions.
ModelConfig ReadGptConfig(ConfigReader& reader, std::string_view family);

}  // namespace regroup
