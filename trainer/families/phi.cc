// Phi 1, 1.5 and 2: parallel blocks with one LayerNorm, partial rotation, biases everywhere.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "phi", /*rotary_share=*/0.5);
  config.norm = NormKind::kLayer;
  config.norm_epsilon = reader.NumberOr("layer_norm_eps", 1e-5);
  config.layout = BlockLayout::kParallel;
  config.gated_feed_forward = false;
  config.activation = reader.ReadActivation("hidden_act", "gelu_new");
  reader.Require("qk_layernorm", false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return {
      {"embedding.weight", "model.embed_tokens.weight"},
      {"layers.{}.attention_norm.weight", "model.layers.{}.input_layernorm.weight"},
      {"layers.{}.attention_norm.bias", "model.layers.{}.input_layernorm.bias"},
      {"layers.{}.attention.query.weight", "model.layers.{}.self_attn.q_proj.weight"},
      {"layers.{}.attention.query.bias", "model.layers.{}.self_attn.q_proj.bias"},
      {"layers.{}.attention.key.weight", "model.layers.{}.self_attn.k_proj.weight"},
      {"layers.{}.attention.key.bias", "model.layers.{}.self_attn.k_proj.bias"},
      {"layers.{}.attention.value.weight", "model.layers.{}.self_attn.v_proj.weight"},
      {"layers.{}.attention.value.bias", "model.layers.{}.self_attn.v_proj.bias"},
      {"layers.{}.attention.output.weight", "model.layers.{}.self_attn.dense.weight"},
      {"layers.{}.attention.output.bias", "model.layers.{}.self_attn.dense.bias"},
      {"layers.{}.feed_forward.up.weight", "model.layers.{}.mlp.fc1.weight"},
      {"layers.{}.feed_forward.up.bias", "model.layers.{}.mlp.fc1.bias"},
      {"layers.{}.feed_forward.down.weight", "model.layers.{}.mlp.fc2.weight"},
      {"layers.{}.feed_forward.down.bias", "model.layers.{}.mlp.fc2.bias"},
      {"final_norm.weight", "model.final_layernorm.weight"},
      {"final_norm.bias", "model.final_layernorm.bias"},
      {"head.weight", "lm_head.weight"},
      {"head.bias", "lm_head.bias"},
  };
}

}  // namespace

const Family& PhiFamily() {
  static const Family family{.model_types = {"phi"}, .read_config = ReadConfig, .names = Names()};
  return family;
}

}  // namespace regroup
