// Qwen 3: LLaMA with a norm on each query and key head.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "qwen3");
  reader.Require("use_sliding_window", false);
  config.query_key_norm = QueryKeyNorm::kPerHead;
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  std::vector<NameRule> names = LlamaNames();
  names.push_back({"layers.{}.attention.query_norm.weight", "model.layers.{}.self_attn.q_norm.weight"});
  names.push_back({"layers.{}.attention.key_norm.weight", "model.layers.{}.self_attn.k_norm.weight"});
  return names;
}

}  // namespace

const Family& Qwen3Family() {
  static const Family family{.model_types = {"qwen3"}, .read_config = ReadConfig, .names = Names()};
  return family;
}

}  // namespace regroup
