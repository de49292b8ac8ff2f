// Layout that Gemma 2 and 3 share.
#pragma once

#include "trainer/families/llama_layout.h"

namespace regroup {

/// Soft caps of a class if their keys are missing; 0 for none.
struct GemmaCaps {
  double attention = 0;
  double logits = 0;
};

/// Reads what they have beside LLaMA's keys.
void ReadGemma2Config(ConfigReader& reader, ModelConfig& config, const GemmaCaps& defaults);

/// Returns the names without those of the norms of queries and keys.
NameRules Gemma2Names();

}  // namespace regroup
