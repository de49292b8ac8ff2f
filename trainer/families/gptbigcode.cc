// GPT-BigCode: GPT-2 with one KV head for all query heads, and projections that are not transposed.
#include "trainer/families/gpt_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadGpt2Config(reader, "gpt_bigcode");
  // Without it the class computes what GPT-2 does, from tensors of another layout.
  reader.Require("multi_query", true);
  config.kv_heads = 1;
  return Finish(reader, std::move(config));
}

}  // namespace

Family GptbigcodeFamily() {
  return {.models = "GPT-2 with one KV head, StarCoder",
          .read_config = ReadConfig,
          .names = Gpt2Names({.linear = Packing::kPlain, .attention = Packing::kFusedRows}),
          .architecture = "GPTBigCodeForCausalLM"};
}

}  // namespace regroup
