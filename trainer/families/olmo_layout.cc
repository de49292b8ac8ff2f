#include "trainer/families/olmo_layout.h"

namespace regroup {

void ReadOlmo2Config(ConfigReader& reader, ModelConfig& config) {
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-5);
  config.layout = BlockLayout::kNormAfter;
  config.query_key_norm = QueryKeyNorm::kAllHeads;
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
}

std::vector<NameRule> Olmo2Names() {
  return WithQueryKeyNorms(LlamaNames(kAttentionBiases)
                               .Without("layers.{}.attention_norm")
                               .Without("layers.{}.feed_forward_norm")
                               .RmsNorm("layers.{}.attention_norm", "model.layers.{}.post_attention_layernorm")
                               .RmsNorm("layers.{}.feed_forward_norm", "model.layers.{}.post_feedforward_layernorm"))
      .rules();
}

}  // namespace regroup
