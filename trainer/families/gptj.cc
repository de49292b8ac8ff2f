// GPT-J: interleaved partial rotation, parallel blocks with one LayerNorm, no biases in attention.
#include "trainer/families/gpt_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadGptConfig(reader, "gptj", 2048);
  config.layout = BlockLayout::kParallel;
  config.kinds[0].rotary = reader.PlainRotary(config.head_width, reader.IntegerOr("rotary_dim", 64), 10000.0);
  config.kinds[0].rotary.interleaved = true;
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  return NameRules()
      .Tensor("embedding.weight", "transformer.wte.weight")
      .LayerNorm("layers.{}.attention_norm", "transformer.h.{}.ln_1")
      .Linear("layers.{}.attention.query", "transformer.h.{}.attn.q_proj", Bias::kNone)
      .Linear("layers.{}.attention.key", "transformer.h.{}.attn.k_proj", Bias::kNone)
      .Linear("layers.{}.attention.value", "transformer.h.{}.attn.v_proj", Bias::kNone)
      .Linear("layers.{}.attention.output", "transformer.h.{}.attn.out_proj", Bias::kNone)
      .Linear("layers.{}.feed_forward.up", "transformer.h.{}.mlp.fc_in")
      .Linear("layers.{}.feed_forward.down", "transformer.h.{}.mlp.fc_out")
      .LayerNorm("final_norm", "transformer.ln_f")
      .Linear("head", "lm_head")
      .rules();
}

}  // namespace

Family GptjFamily() {
  return {.models = "GPT-J",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "GPTJForCausalLM",
          .standard_gqa = false};
}

}  // namespace regroup
