#include "trainer/families/gpt_layout.h"

namespace regroup {

ModelConfig ReadGptConfig(ConfigReader& reader, std::string_view family) {
  ModelConfig config{.family = std::string(family)};
  config.hidden_size = reader.Integer("n_embd");
  config.layers = reader.Integer("n_layer");
  config.heads = config.kv_heads = reader.Integer("n_head");
  config.head_width = config.hidden_size / config.heads;
  config.intermediate_size = reader.IntegerOr("n_inner", 4 * config.hidden_size);
  config.vocabulary = reader.Integer("vocab_size");
  config.max_positions = reader.IntegerOr("n_positions", 2048);
  config.norm = NormKind::kLayer;
  config.norm_epsilon = reader.NumberOr("layer_norm_epsilon", 1e-5);
  config.gated_feed_forward = false;
  config.activation = reader.ReadActivation("activation_function", "gelu_new");
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", false);
  CheckHeads(reader, config, false);
  return config;
}

}  // namespace regroup
