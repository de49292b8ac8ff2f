// Nemotron and Minitron: LLaMA with LayerNorm whose weight is stored less one, partial rotation, and a feed-forward
// without gate.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  // The class has no default for the number of KV heads, and fails without it.
  reader.Integer("num_key_value_heads");
  ModelConfig config = ReadLlamaConfig(reader, "nemotron",
                                       {.kv_heads_may_be_null = false,
                                        .head_width_may_be_null = true,
                                        .max_positions = 4096,
                                        .activation = "relu2",
                                        .rotary = {.default_share = 0.5, .partial = true}});
  config.norm = NormKind::kLayerPlusOne;
  config.norm_epsilon = reader.NumberOr("norm_eps", 1e-5);
  config.gated_feed_forward = false;
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
  reader.ReadBias(config, KeyOf(Bias::kByMlpBias), false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return LlamaNames(kAllBiases)
      .Without("norm")
      .Without("gate")
      .LayerNorm("layers.{}.attention_norm", "model.layers.{}.input_layernorm")
      .LayerNorm("layers.{}.feed_forward_norm", "model.layers.{}.post_attention_layernorm")
      .LayerNorm("final_norm", "model.norm")
      .rules();
}

}  // namespace

Family NemotronFamily() {
  return {.models = "Nemotron, Minitron",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "NemotronForCausalLM"};
}

}  // namespace regroup
