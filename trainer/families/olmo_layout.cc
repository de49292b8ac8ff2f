#include "trainer/families/olmo_layout.h"

namespace regroup {

std::vector<NameRule> Olmo2Names() {
  return LlamaNames(kAttentionBiases)
      .Without("layers.{}.attention_norm")
      .Without("layers.{}.feed_forward_norm")
      .RmsNorm("layers.{}.attention_norm", "model.layers.{}.post_attention_layernorm")
      .RmsNorm("layers.{}.feed_forward_norm", "model.layers.{}.post_feedforward_layernorm")
      .RmsNorm("layers.{}.attention.query_norm", "model.layers.{}.self_attn.q_norm")
      .RmsNorm("layers.{}.attention.key_norm", "model.layers.{}.self_attn.k_norm")
      .rules();
}

}  // namespace regroup
