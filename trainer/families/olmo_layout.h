// Layout of OLMo 2 and 3.
#pragma once

#include "trainer/families/llama_layout.h"

namespace regroup {

/// Reads what they have beside LLaMA's keys.
void ReadOlmo2Config(ConfigReader& reader, ModelConfig& config);

std::vector<NameRule> Olmo2Names();

}  // namespace regroup
