// Mixtral: Mistral with experts instead of feed-forwards.
#include "trainer/families/experts_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "mixtral",
                                       {.kv_heads = 8,
                                        .kv_heads_may_be_null = false,
                                        .head_width_may_be_null = true,
                                        .max_positions = 4096 * 32,
                                        .rotary = {.default_theta = 1e6}});
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-5);
  config.kinds[0].sliding_window = reader.OptionalInteger("sliding_window", 0);
  config.experts = {.count = ReadExpertCount(reader, {"num_experts", "num_local_experts"}, 8),
                    .per_token = reader.IntegerOr("num_experts_per_tok", 2),
                    .width = config.intermediate_size,
                    .normalised = true};
  CheckExperts(reader, config);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return LlamaNames({})
      .Without(".feed_forward.")
      .OfExperts("layers.{}.feed_forward.experts.{}.gate", "model.layers.{}.block_sparse_moe.experts.{}.w1")
      .OfExperts("layers.{}.feed_forward.experts.{}.down", "model.layers.{}.block_sparse_moe.experts.{}.w2")
      .OfExperts("layers.{}.feed_forward.experts.{}.up", "model.layers.{}.block_sparse_moe.experts.{}.w3")
      .OfExperts("layers.{}.feed_forward.router", "model.layers.{}.block_sparse_moe.gate")
      .rules();
}

}  // namespace

Family MixtralFamily() {
  return {.models = "Mixtral",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "MixtralForCausalLM",
          .stacked_experts = StackedExperts()};
}

}  // namespace regroup
