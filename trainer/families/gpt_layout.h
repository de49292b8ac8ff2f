// What GPT-2 and GPT-J share: the keys of their config.json.
#pragma once

#include <string_view>

#include "trainer/families/llama_layout.h"

namespace regroup {

/// Sizes, LayerNorm, plain feed-forward. Positions are the family's own.
ModelConfig ReadGptConfig(ConfigReader& reader, std::string_view family);

}  // namespace regroup
