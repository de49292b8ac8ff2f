// Gemma 3 without images: Gemma 2 with a norm on each query and key head instead of soft caps, and two kinds of layers,
// of which those with a sliding window have other frequencies.
#include "trainer/families/gemma_layout.h"
#include "trainer/families/layer_types.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  LlamaDefaults defaults = Gemma2Defaults();
  defaults.max_positions = 131072;
  defaults.rotary_by_layer_type = true;
  ModelConfig config = ReadLlamaConfig(reader, "gemma3_text", defaults);
  ReadGemma2Blocks(reader, config, {});
  // Its class reads the cap of attention and does not apply it.
  reader.RequireOrNull("attn_logit_softcapping", nullptr);
  ReadLayerTypes(reader, config, {.otherwise = AllButEvery(reader, "sliding_window_pattern", 6)});
  ReadRotaryByLayerType(reader, config, {.default_theta = 1e6}, {.theta = "rope_local_base_freq"});
  config.query_key_norm = QueryKeyNorm::kPerHead;
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() { return WithQueryKeyNorms(Gemma2Names()).rules(); }

}  // namespace

Family Gemma3Family() {
  return {.models = "Gemma 3, text alone",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "Gemma3ForCausalLM",
          .text_defaults =
              TextDefaults({.vocabulary = 262208, .hidden = 2304, .intermediate = 9216, .layers = 26, .heads = 8})};
}

}  // namespace regroup
