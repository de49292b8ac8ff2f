// Command R and Aya: blocks in which attention and feed-forward read one norm, rotation of neighbouring entries, and
// scaled logits.
#include "trainer/families/cohere_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config =
      ReadLlamaConfig(reader, "cohere", {.max_positions = 8192, .tied = true, .rotary = {.default_theta = 500000.0}});
  ReadCohereConfig(reader, config);
  reader.RequireOrNull("use_qk_norm", false);
  return Finish(reader, std::move(config));
}

}  // namespace

Family CohereFamily() {
  return {.models = "Command R, Aya 23",
          .read_config = ReadConfig,
          .names = CohereNames(),
          .architecture = "CohereForCausalLM"};
}

}  // namespace regroup
