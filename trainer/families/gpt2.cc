// GPT-2: learned positions, fused and transposed projections, biases everywhere.
#include "trainer/families/gpt_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadGptConfig(reader, "gpt2", 1024);
  config.learned_positions = config.max_positions;
  config.tied_embeddings = reader.BooleanOr("tie_word_embeddings", true);
  reader.Require("scale_attn_weights", true);
  reader.Require("scale_attn_by_inverse_layer_idx", false);
  reader.Require("add_cross_attention", false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return NameRules()
      .Tensor("embedding.weight", "transformer.wte.weight")
      .Tensor("positions.weight", "transformer.wpe.weight")
      .LayerNorm("layers.{}.attention_norm", "transformer.h.{}.ln_1")
      .FusedAttention("transformer.h.{}.attn.c_attn", Bias::kAlways, Packing::kFusedTransposed)
      .Linear("layers.{}.attention.output", "transformer.h.{}.attn.c_proj", Bias::kAlways, Packing::kTransposed)
      .LayerNorm("layers.{}.feed_forward_norm", "transformer.h.{}.ln_2")
      .Linear("layers.{}.feed_forward.up", "transformer.h.{}.mlp.c_fc", Bias::kAlways, Packing::kTransposed)
      .Linear("layers.{}.feed_forward.down", "transformer.h.{}.mlp.c_proj", Bias::kAlways, Packing::kTransposed)
      .LayerNorm("final_norm", "transformer.ln_f")
      .Tensor("head.weight", "lm_head.weight")
      .rules();
}

}  // namespace

Family Gpt2Family() {
  return {.models = "GPT-2",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "GPT2LMHeadModel",
          .standard_gqa = false};
}

}  // namespace regroup
