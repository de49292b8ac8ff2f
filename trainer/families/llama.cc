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

const Family& LlamaFamily() {
  static const Family family{.model_types = {"llama"}, .read_config = ReadConfig, .names = LlamaNames().rules()};
  return family;
}

}  // namespace regroup
