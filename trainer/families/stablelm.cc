// StableLM: LLaMA with LayerNorm, partial rotation and, in some, parallel blocks.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "stablelm",
                                       {.kv_heads = 32,
                                        .kv_heads_may_be_null = false,
                                        .head_width_may_be_null = true,
                                        .max_positions = 4096,
                                        .rotary = {.default_share = 0.25, .partial = true}});
  config.norm = NormKind::kLayer;
  config.norm_epsilon = reader.NumberOr("layer_norm_eps", 1e-5);
  const bool parallel = reader.BooleanOr("use_parallel_residual", false);
  config.layout = parallel ? BlockLayout::kParallel : BlockLayout::kSequential;
  reader.Require("qk_layernorm", false);
  reader.ReadBias(config, KeyOf(Bias::kByUseQkvBias), false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return LlamaNames({.query_key_value = Bias::kByUseQkvBias})
      .Without("norm")
      .LayerNorm("layers.{}.attention_norm", "model.layers.{}.input_layernorm")
      .LayerNorm("layers.{}.feed_forward_norm", "model.layers.{}.post_attention_layernorm")
      .LayerNorm("final_norm", "model.norm")
      .rules();
}

}  // namespace

Family StablelmFamily() {
  return {.models = "StableLM", .read_config = ReadConfig, .names = Names(), .architecture = "StableLmForCausalLM"};
}

}  // namespace regroup
