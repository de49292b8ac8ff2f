// GPT-2: learned positions, fused and transposed projections, biases everywhere.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config{.family = "gpt2"};
  config.hidden_size = reader.Integer("n_embd");
  config.layers = reader.Integer("n_layer");
  config.heads = config.kv_heads = reader.Integer("n_head");
  config.head_width = config.hidden_size / config.heads;
  config.intermediate_size = reader.IntegerOr("n_inner", 4 * config.hidden_size);
  config.vocabulary = reader.Integer("vocab_size");
  config.max_positions = config.learned_positions = reader.IntegerOr("n_positions", 1024);
  config.norm = NormKind::kLayer;
  config.norm_epsilon = reader.NumberOr("layer_norm_epsilon", 1e-5);
  config.gated_feed_forward = false;
  config.activation = reader.ReadActivation("activation_function", "gelu_new");
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", true);
  reader.Require("scale_attn_weights", true);
  reader.Require("scale_attn_by_inverse_layer_idx", false);
  reader.Require("add_cross_attention", false);
  CheckHeads(reader, config, false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  constexpr std::string_view kFused = "transformer.h.{}.attn.c_attn.weight";
  constexpr std::string_view kFusedBias = "transformer.h.{}.attn.c_attn.bias";
  return {
      {"embedding.weight", "transformer.wte.weight"},
      {"positions.weight", "transformer.wpe.weight"},
      {"layers.{}.attention_norm.weight", "transformer.h.{}.ln_1.weight"},
      {"layers.{}.attention_norm.bias", "transformer.h.{}.ln_1.bias"},
      {"layers.{}.attention.query.weight", kFused, Packing::kFusedTransposed},
      {"layers.{}.attention.key.weight", kFused, Packing::kFusedTransposed},
      {"layers.{}.attention.value.weight", kFused, Packing::kFusedTransposed},
      {"layers.{}.attention.query.bias", kFusedBias, Packing::kFusedTransposed},
      {"layers.{}.attention.key.bias", kFusedBias, Packing::kFusedTransposed},
      {"layers.{}.attention.value.bias", kFusedBias, Packing::kFusedTransposed},
      {"layers.{}.attention.output.weight", "transformer.h.{}.attn.c_proj.weight", Packing::kTransposed},
      {"layers.{}.attention.output.bias", "transformer.h.{}.attn.c_proj.bias"},
      {"layers.{}.feed_forward_norm.weight", "transformer.h.{}.ln_2.weight"},
      {"layers.{}.feed_forward_norm.bias", "transformer.h.{}.ln_2.bias"},
      {"layers.{}.feed_forward.up.weight", "transformer.h.{}.mlp.c_fc.weight", Packing::kTransposed},
      {"layers.{}.feed_forward.up.bias", "transformer.h.{}.mlp.c_fc.bias"},
      {"layers.{}.feed_forward.down.weight", "transformer.h.{}.mlp.c_proj.weight", Packing::kTransposed},
      {"layers.{}.feed_forward.down.bias", "transformer.h.{}.mlp.c_proj.bias"},
      {"final_norm.weight", "transformer.ln_f.weight"},
      {"final_norm.bias", "transformer.ln_f.bias"},
      {"head.weight", "lm_head.weight"},
  };
}

}  // namespace

const Family& Gpt2Family() {
  static const Family family{.model_types = {"gpt2"},
                             .read_config = ReadConfig,
                             .names = Names(),
                             .prefix = "transformer.",
                             .standard_gqa = false};
  return family;
}

}  // namespace regroup
