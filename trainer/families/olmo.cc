// OLMo: LLaMA with LayerNorm that has no parameters.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "olmo");
  config.norm = NormKind::kLayer;
  config.norm_epsilon = 1e-5;
  // Clipped queries and keys are not linear in the input: no map of theirs leaves the model unchanged.
  reader.Require("clip_qkv", nullptr);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  std::vector<NameRule> names = LlamaNames();
  std::erase_if(names, [](const NameRule& rule) { return rule.ours.find("norm") != std::string_view::npos; });
  return names;
}

}  // namespace

const Family& OlmoFamily() {
  static const Family family{.model_types = {"olmo"}, .read_config = ReadConfig, .names = Names()};
  return family;
}

}  // namespace regroup
