#include "trainer/families/cohere_layout.h"

namespace regroup {

void ReadCohereConfig(ConfigReader& reader, ModelConfig& config) {
  config.norm = NormKind::kLayer;
  config.norm_epsilon = reader.NumberOr("layer_norm_eps", 1e-5);
  config.layout = BlockLayout::kParallel;
  config.output_scale = reader.PositiveOr("logit_scale", 0.0625);
  for (AttentionKind& kind : config.kinds) kind.rotary.interleaved = true;
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
}

std::vector<NameRule> CohereNames() {
  return LlamaNames(kAttentionBiases).Without("layers.{}.feed_forward_norm").rules();
}

}  // namespace regroup
