// Gemma 2: Gemma with norms around attention and feed-forward, soft-capped logits, and a sliding window in every second
// layer.
#include "trainer/families/gemma_layout.h"
#include "trainer/families/layer_types.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "gemma2",
                                       {.kv_heads = 4,
                                        .kv_heads_may_be_null = false,
                                        .head_width = 256,
                                        .max_positions = 8192,
                                        .activation_key = "hidden_activation",
                                        .activation = "gelu_pytorch_tanh",
                                        .tied = true});
  ReadGemma2Config(reader, config, {.attention = 50.0, .logits = 30.0});
  ReadLayerTypes(reader, config, {.otherwise = AllButEvery(2)});
  return Finish(reader, std::move(config));
}

}  // namespace

Family Gemma2Family() {
  return {.models = "Gemma 2",
          .read_config = ReadConfig,
          .names = Gemma2Names().rules(),
          .architecture = "Gemma2ForCausalLM"};
}

}  // namespace regroup
