#include "tiny_llama.h"

#include <ATen/ATen.h>

#include <cstdlib>
#include <fstream>

#include "slow_transformer.h"
#include "trainer/checkpoint/safetensors_writer.h"
#include "trainer/families/family.h"

namespace regroup {

Model TinyLlama::MakeModel() const {
  ModelConfig config = SmallConfig(kv_heads);
  config.tied_embeddings = tied;
  return CloneModel(RandomModel(config, biases, seed), dtype, at::kCPU);
}

nlohmann::json TinyLlama::MakeConfig() const {
  nlohmann::json config = {{"model_type", "llama"},
                           {"architectures", {"LlamaForCausalLM"}},
                           {"hidden_size", 10},
                           {"num_hidden_layers", 2},
                           {"num_attention_heads", 4},
                           {"num_key_value_heads", kv_heads},
                           {"head_dim", 6},
                           {"intermediate_size", 14},
                           {"vocab_size", 23},
                           {"max_position_embeddings", 32},
                           {"rms_norm_eps", 1e-3},
                           {"rope_theta", 100.0},
                           {"attention_bias", biases},
                           {"mlp_bias", biases},
                           {"tie_word_embeddings", tied}};
  config.update(config_changes);
  return config;
}

std::map<std::string, at::Tensor> TinyLlama::MakeTensors() const {
  const Family& family = **FamilyOf(MakeConfig());
  Model model = MakeModel();
  std::map<std::string, at::Tensor> tensors;
  VisitParameters(model, [&](const std::string& ours, at::Tensor& tensor) {
    if (tensor.defined()) tensors[PlaceOf(family, {}, ours)->name] = tensor;
  });
  return tensors;
}

void TinyLlama::Write(const std::filesystem::path& folder) const { WriteFolder(folder, MakeConfig(), MakeTensors()); }

void WriteFolder(const std::filesystem::path& folder, const nlohmann::json& config,
                 const std::map<std::string, at::Tensor>& tensors) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << config.dump(2);
  const std::vector<NamedTensor> named(tensors.begin(), tensors.end());
  if (!WriteSafetensors(folder / "model.safetensors", named).ok()) std::abort();
}

}  // namespace regroup
