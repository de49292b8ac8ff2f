// Phi 3, 3.5 and 4: LLaMA whose queries, keys and values are one tensor, and gate and up another, with a sliding window
// or longrope.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(
      reader, "phi3",
      {.max_positions = 4096, .rotary = {.partial = true, .original_positions = 4096, .only_longrope = true}});
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-5);
  config.kinds[0].sliding_window = reader.OptionalInteger("sliding_window", 0);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return LlamaNames({})
      .Without(".attention.query")
      .Without(".attention.key")
      .Without(".attention.value")
      .Without(".feed_forward.gate")
      .Without(".feed_forward.up")
      .FusedAttention("model.layers.{}.self_attn.qkv_proj", Bias::kNone, Packing::kFusedRows)
      .Fused({"layers.{}.feed_forward.gate", "layers.{}.feed_forward.up"}, "model.layers.{}.mlp.gate_up_proj",
             Packing::kFusedRows)
      .rules();
}

}  // namespace

Family Phi3Family() {
  return {.models = "Phi 3 to 4", .read_config = ReadConfig, .names = Names(), .architecture = "Phi3ForCausalLM"};
}

}  // namespace regroup
