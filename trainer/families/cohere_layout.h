// Layout of Cohere's models.
#pragma once

#include "trainer/families/llama_layout.h"

namespace regroup {

/// Reads what they have beside LLaMA's keys, the rotation of neighbouring entries included.
void ReadCohereConfig(ConfigReader& reader, ModelConfig& config);

std::vector<NameRule> CohereNames();

}  // namespace regroup
