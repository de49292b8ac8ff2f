// GPT-2: learned positions, fused and transposed projections, biases everywhere.
#include "trainer/families/gpt_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadGpt2Config(reader, "gpt2");
  reader.Require("scale_attn_by_inverse_layer_idx", false);
  return Finish(reader, std::move(config));
}

/// The class of GPT-BigCode has GPT-2's keys and defaults, apart from other names of the same activation.
void WriteGptBigCode(nlohmann::json& config) {
  config["model_type"] = "gpt_bigcode";
  config["architectures"] = {"GPTBigCodeForCausalLM"};
  config["multi_query"] = true;
  // It would name code for GPT-2.
  config.erase("auto_map");
}

}  // namespace

Family Gpt2Family() {
  return {.models = "GPT-2",
          .read_config = ReadConfig,
          .names = Gpt2Names({.linear = Packing::kTransposed, .attention = Packing::kFusedTransposed}),
          .architecture = "GPT2LMHeadModel",
          .standard_gqa = false,
          .one_head = OneHeadClass{.family = "gpt_bigcode", .write_config = WriteGptBigCode}};
}

}  // namespace regroup
