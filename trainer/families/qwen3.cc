// Qwen 3: LLaMA with a norm on each query and key head.
#include "trainer/families/layer_types.h"
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "qwen3", {.kv_heads = 32, .head_width = 128, .max_positions = 32768});
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-6);
  ReadQwenWindows(reader, config, FromMaxWindowLayers(reader));
  config.query_key_norm = QueryKeyNorm::kPerHead;
  reader.ReadBias(config, KeyOf(Bias::kByAttentionBias), false);
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() { return WithQueryKeyNorms(LlamaNames(kAttentionBiases)).rules(); }

}  // namespace

Family Qwen3Family() {
  return {.models = "Qwen 3", .read_config = ReadConfig, .names = Names(), .architecture = "Qwen3ForCausalLM"};
}

}  // namespace regroup
