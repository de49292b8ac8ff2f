// OLMo 2: LLaMA with norms after attention and feed-forward, and norms over all queries and all keys.
#include "trainer/families/llama_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadLlamaConfig(reader, "olmo2");
  config.norm_epsilon = reader.NumberOr("rms_norm_eps", 1e-5);
  config.layout = BlockLayout::kNormAfter;
  config.query_key_norm = QueryKeyNorm::kAllHeads;
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  std::vector<NameRule> names = LlamaNames();
  for (NameRule& rule : names) {
    if (rule.ours == "layers.{}.attention_norm.weight") {
      rule.checkpoint = "model.layers.{}.post_attention_layernorm.weight";
    } else if (rule.ours == "layers.{}.feed_forward_norm.weight") {
      rule.checkpoint = "model.layers.{}.post_feedforward_layernorm.weight";
    }
  }
  names.push_back({"layers.{}.attention.query_norm.weight", "model.layers.{}.self_attn.q_norm.weight"});
  names.push_back({"layers.{}.attention.key_norm.weight", "model.layers.{}.self_attn.k_norm.weight"});
  return names;
}

}  // namespace

const Family& Olmo2Family() {
  static const Family family{.model_types = {"olmo2"}, .read_config = ReadConfig, .names = Names()};
  return family;
}

}  // namespace regroup
