// Describes what the Gemmas share, and the layout of Gemma 2 and 3 and of T5Gemma.
#pragma once

#include "trainer/families/llama_layout.h"

namespace regroup {

/// Soft caps of a class if their keys are missing; 0 for none.
struct GemmaCaps {
  double attention = 0;
  double logits = 0;
};

/// Returns the defaults of the class of Gemma, and those of Gemma 2.
LlamaDefaults GemmaDefaults();
LlamaDefaults Gemma2Defaults();

/// Reads what the blocks of Gemma 2 and 3 have beside LLaMA's keys.
void ReadGemma2Blocks(ConfigReader& reader, ModelConfig& config, const GemmaCaps& defaults);

/// Reads the configuration of Gemma 2.
ModelConfig ReadGemma2Config(ConfigReader& reader, std::string_view family);

/// Returns the names without those of the norms of queries and keys.
NameRules Gemma2Names();

}  // namespace regroup
