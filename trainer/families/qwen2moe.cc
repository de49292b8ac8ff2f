// Qwen 1.5 and 2 as mixtures of experts: Qwen 2 with experts, one of which is shared by all tokens behind a gate.
#include "trainer/families/experts_layout.h"
#include "trainer/families/layer_types.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config =
      ReadLlamaConfig(reader, "qwen2_moe", {.kv_heads = 16, .kv_heads_may_be_null = false, .max_positions = 32768});
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-6);
  ReadExperts(reader, config, {.names = {"num_experts"}, .count = 60, .per_token = 4, .width = 1408});
  config.experts.shared_width = reader.IntegerOr("shared_expert_intermediate_size", 5632);
  const int64_t windowed = reader.IndexOr("max_window_layers", 28);
  ReadQwenWindows(reader, config, [&](int64_t layer) { return layer % 2 == 0 && layer < windowed; });
  reader.ReadBias(config, KeyOf(Bias::kByQkvBias), true);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return WithExperts(LlamaNames({.query_key_value = Bias::kByQkvBias}))
      .OfExperts("layers.{}.feed_forward.gate", "model.layers.{}.mlp.shared_expert.gate_proj")
      .OfExperts("layers.{}.feed_forward.up", "model.layers.{}.mlp.shared_expert.up_proj")
      .OfExperts("layers.{}.feed_forward.down", "model.layers.{}.mlp.shared_expert.down_proj")
      .OfExperts("layers.{}.feed_forward.shared_gate", "model.layers.{}.mlp.shared_expert_gate")
      .rules();
}

}  // namespace

Family Qwen2moeFamily() {
  return {.models = "Qwen 1.5 and 2, mixtures of experts",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "Qwen2MoeForCausalLM",
          .stacked_experts = StackedExperts()};
}

}  // namespace regroup
