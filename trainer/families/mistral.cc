// Mistral: LLaMA with a sliding window.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "mistral");
  config.sliding_window = reader.IntegerOr("sliding_window", 0);
  return Finish(reader, std::move(config));
}

}  // namespace

Family MistralFamily() { return {.read_config = ReadConfig, .names = LlamaNames({}).rules()}; }

}  // namespace regroup
