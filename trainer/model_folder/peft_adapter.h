// A LoRA adapter as the library PEFT stores it: adapter_config.json and the weights.
//
// Shared and immutable; any thread may call any function. Runs no code of the folder.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"

namespace regroup {

/// The two factors of a module's update, which is proportional to B A: A [rank, in], B [out, rank].
struct LowRankUpdate {
  at::Tensor a, b;
};

class PeftAdapter {
 public:
  /// Reads adapter_model.safetensors or adapter_model.bin. NOT_FOUND for a missing file; INVALID_ARGUMENT names a
  /// setting under which the update of a weight is something else than B A times a number (DoRA, trained biases, ...);
  /// DATA_LOSS for malformed files and for one factor without the other.
  static absl::StatusOr<PeftAdapter> Open(const std::filesystem::path& folder);

  const nlohmann::json& config() const { return config_; }
  /// Returns the updates by the module's name in the model, such as "model.layers.0.self_attn.q_proj".
  const std::map<std::string, LowRankUpdate>& updates() const { return updates_; }
  /// Returns the other tensors (modules_to_save, embeddings) by their names in the file.
  const std::map<std::string, at::Tensor>& others() const { return others_; }

  /// Returns the name of a module's factor in the file: "base_model.model.<module>.lora_A.weight".
  static std::string FactorName(const std::string& module, const char* factor);

 private:
  nlohmann::json config_;
  std::map<std::string, LowRankUpdate> updates_;
  std::map<std::string, at::Tensor> others_;
};

}  // namespace regroup
