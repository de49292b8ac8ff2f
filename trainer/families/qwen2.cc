// Qwen 1.5, Qwen 2 and 2.5: LLaMA with biases on queries, keys and values.
#include "trainer/families/layer_types.h"
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "qwen2", {.kv_heads = 32, .max_positions = 32768});
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-6);
  ReadQwenWindows(reader, config, FromMaxWindowLayers(reader));
  return Finish(reader, std::move(config));
}

}  // namespace

Family Qwen2Family() {
  return {.models = "Qwen 1.5 to 2.5",
          .read_config = ReadConfig,
          .names = LlamaNames({.query_key_value = Bias::kAlways}).rules(),
          .architecture = "Qwen2ForCausalLM",
          .text_defaults =
              TextDefaults({.vocabulary = 151936, .hidden = 4096, .intermediate = 22016, .layers = 32, .heads = 32})};
}

}  // namespace regroup
