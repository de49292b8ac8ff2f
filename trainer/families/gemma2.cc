// Gemma 2: Gemma with norms around attention and feed-forward, soft-capped logits, and a sliding window in every second
// layer.
#include "trainer/families/gemma_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  return Finish(reader, ReadGemma2Config(reader, "gemma2"));
}

}  // namespace

Family Gemma2Family() {
  return {.models = "Gemma 2",
          .read_config = ReadConfig,
          .names = Gemma2Names().rules(),
          .architecture = "Gemma2ForCausalLM"};
}

}  // namespace regroup
