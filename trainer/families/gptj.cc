// GPT-J: interleaved partial rotation, parallel blocks with one LayerNorm, no biases in attention.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config{.family = "gptj"};
  config.hidden_size = reader.Integer("n_embd");
  config.layers = reader.Integer("n_layer");
  config.heads = config.kv_heads = reader.Integer("n_head");
  config.head_width = config.hidden_size / config.heads;
  config.intermediate_size = reader.IntegerOr("n_inner", 4 * config.hidden_size);
  config.vocabulary = reader.Integer("vocab_size");
  config.max_positions = reader.IntegerOr("n_positions", 2048);
  config.norm = NormKind::kLayer;
  config.norm_epsilon = reader.NumberOr("layer_norm_epsilon", 1e-5);
  config.layout = BlockLayout::kParallel;
  config.gated_feed_forward = false;
  config.activation = reader.ReadActivation("activation_function", "gelu_new");
  config.rotary = reader.PlainRotary(config.head_width, reader.IntegerOr("rotary_dim", config.head_width), 10000.0);
  config.rotary.interleaved = true;
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", false);
  CheckHeads(reader, config, false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return {
      {"embedding.weight", "transformer.wte.weight"},
      {"layers.{}.attention_norm.weight", "transformer.h.{}.ln_1.weight"},
      {"layers.{}.attention_norm.bias", "transformer.h.{}.ln_1.bias"},
      {"layers.{}.attention.query.weight", "transformer.h.{}.attn.q_proj.weight"},
      {"layers.{}.attention.key.weight", "transformer.h.{}.attn.k_proj.weight"},
      {"layers.{}.attention.value.weight", "transformer.h.{}.attn.v_proj.weight"},
      {"layers.{}.attention.output.weight", "transformer.h.{}.attn.out_proj.weight"},
      {"layers.{}.feed_forward.up.weight", "transformer.h.{}.mlp.fc_in.weight"},
      {"layers.{}.feed_forward.up.bias", "transformer.h.{}.mlp.fc_in.bias"},
      {"layers.{}.feed_forward.down.weight", "transformer.h.{}.mlp.fc_out.weight"},
      {"layers.{}.feed_forward.down.bias", "transformer.h.{}.mlp.fc_out.bias"},
      {"final_norm.weight", "transformer.ln_f.weight"},
      {"final_norm.bias", "transformer.ln_f.bias"},
      {"head.weight", "lm_head.weight"},
      {"head.bias", "lm_head.bias"},
  };
}

}  // namespace

const Family& GptjFamily() {
  static const Family family{
      .model_types = {"gptj"}, .read_config = ReadConfig, .names = Names(), .standard_gqa = false};
  return family;
}

}  // namespace regroup
