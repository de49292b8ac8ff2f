// OLMoE: a mixture of experts with norms over all queries and all keys.
#include "trainer/families/experts_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "olmoe", {.max_positions = 4096});
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-5);
  config.query_key_norm = QueryKeyNorm::kAllHeads;
  reader.RequireOrNull("clip_qkv", nullptr);
  config.experts = {.count = ReadExpertCount(reader, {"num_local_experts", "num_experts"}, 64),
                    .per_token = reader.IntegerOr("num_experts_per_tok", 8),
                    .width = config.intermediate_size,
                    .normalised = reader.BooleanOr("norm_topk_prob", false)};
  CheckExperts(reader, config);
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() { return WithQueryKeyNorms(WithExperts(LlamaNames(kAttentionBiases))).rules(); }

}  // namespace

Family OlmoeFamily() {
  return {.models = "OLMoE",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "OlmoeForCausalLM",
          .stacked_experts = StackedExperts()};
}

}  // namespace regroup
