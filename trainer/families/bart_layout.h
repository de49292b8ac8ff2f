// Encoder-decoders that adopted BART's names: layers of self-attention, cross attention and feed-forward with biases.
#pragma once

#include <string_view>
#include <vector>

#include "trainer/families/llama_layout.h"

namespace regroup {

/// The defaults of a configuration class that shares BART's keys.
struct BartDefaults {
  std::string_view activation = "gelu";
  bool scales_embedding = false;
  bool scale_may_be_null = false;
  int64_t decoder_start_token = 0;
  /// Positions of each stack, or of the decoder alone.
  std::string_view positions_key = "max_position_embeddings";
  int64_t positions = 1024;
};

/// Reads sizes, LayerNorm and plain feed-forward. Fails if encoder and decoder have different heads or widths. Each
/// family sets its layout, positions and norms.
ModelConfig ReadBartConfig(ConfigReader& reader, std::string_view family, const BartDefaults& defaults);

/// Reads a learned table of positions for each stack, which begins with two rows for padding, and the norms after them.
void ReadBartPositions(ModelConfig& config);

/// Reads computed positions with this SinusoidalConfig::divisor.
void ReadSinusoidalPositions(ConfigReader& reader, ModelConfig& config, double divisor);

/// The parameters that some of these models have.
struct BartParts {
  bool learned_positions = false, embedding_norm = false, final_norm = false, logits_bias = true, key_bias = true;
  std::string_view embedding = "model.shared.weight", head = "lm_head.weight";
};

std::vector<NameRule> BartNames(const BartParts& parts);

/// Returns other names of the embedding in checkpoints, see Family::embedding_copies.
std::vector<std::string_view> BartEmbeddingCopies();

/// Returns the names of the positions of both stacks.
std::vector<std::string_view> BartPositions();

}  // namespace regroup
