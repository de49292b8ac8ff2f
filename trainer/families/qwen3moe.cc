// Qwen 3 as a mixture of experts.
#include "trainer/families/experts_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config =
      ReadLlamaConfig(reader, "qwen3_moe", {.kv_heads = 4, .kv_heads_may_be_null = false, .max_positions = 32768});
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-6);
  config.query_key_norm = QueryKeyNorm::kPerHead;
  ReadExperts(reader, config,
              {.names = {"num_local_experts", "num_experts"}, .count = 128, .per_token = 8, .width = 768});
  if (reader.BooleanOr("use_sliding_window", false)) {
    config.kinds[0].sliding_window = reader.OptionalInteger("sliding_window", 4096);
  }
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() { return WithQueryKeyNorms(WithExperts(LlamaNames(kAttentionBiases))).rules(); }

}  // namespace

Family Qwen3moeFamily() {
  return {.models = "Qwen 3, mixtures of experts",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "Qwen3MoeForCausalLM",
          .stacked_experts = StackedExperts()};
}

}  // namespace regroup
