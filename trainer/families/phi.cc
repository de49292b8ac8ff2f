// Phi 1, 1.5 and 2: parallel blocks with one LayerNorm, partial rotation, biases everywhere.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config =
      ReadLlamaConfig(reader, "phi", {.activation = "gelu_new", .rotary = {.default_share = 0.5, .partial = true}});
  config.norm = NormKind::kLayer;
  config.norm_epsilon = reader.NumberOr("layer_norm_eps", 1e-5);
  config.layout = BlockLayout::kParallel;
  config.gated_feed_forward = false;
  reader.Require("qk_layernorm", false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return NameRules()
      .Tensor("embedding.weight", "model.embed_tokens.weight")
      .LayerNorm("layers.{}.attention_norm", "model.layers.{}.input_layernorm")
      .Linear("layers.{}.attention.query", "model.layers.{}.self_attn.q_proj")
      .Linear("layers.{}.attention.key", "model.layers.{}.self_attn.k_proj")
      .Linear("layers.{}.attention.value", "model.layers.{}.self_attn.v_proj")
      .Linear("layers.{}.attention.output", "model.layers.{}.self_attn.dense")
      .Linear("layers.{}.feed_forward.up", "model.layers.{}.mlp.fc1")
      .Linear("layers.{}.feed_forward.down", "model.layers.{}.mlp.fc2")
      .LayerNorm("final_norm", "model.final_layernorm")
      .Linear("head", "lm_head")
      .rules();
}

}  // namespace

Family PhiFamily() {
  return {.models = "Phi 1 to 2", .read_config = ReadConfig, .names = Names(), .architecture = "PhiForCausalLM"};
}

}  // namespace regroup
