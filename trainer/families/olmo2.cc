// OLMo 2: LLaMA with norms after attention and feed-forward, and norms over all queries and all keys.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "olmo2", {});
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-5);
  config.layout = BlockLayout::kNormAfter;
  config.query_key_norm = QueryKeyNorm::kAllHeads;
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return LlamaNames({.query_key_value = Bias::kByAttentionBias, .attention_output = Bias::kByAttentionBias})
      .Without("layers.{}.attention_norm")
      .Without("layers.{}.feed_forward_norm")
      .RmsNorm("layers.{}.attention_norm", "model.layers.{}.post_attention_layernorm")
      .RmsNorm("layers.{}.feed_forward_norm", "model.layers.{}.post_feedforward_layernorm")
      .RmsNorm("layers.{}.attention.query_norm", "model.layers.{}.self_attn.q_norm")
      .RmsNorm("layers.{}.attention.key_norm", "model.layers.{}.self_attn.k_norm")
      .rules();
}

}  // namespace

Family Olmo2Family() { return {.read_config = ReadConfig, .names = Names(), .architecture = "Olmo2ForCausalLM"}; }

}  // namespace regroup
