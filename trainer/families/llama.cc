// LLaMA: RMSNorm, rotary positions over the whole head, gated SiLU.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "llama");
  return Finish(reader, std::move(config));
}

}  // namespace

Family LlamaFamily() { return {.read_config = ReadConfig, .names = LlamaNames().rules()}; }

}  // namespace regroup
