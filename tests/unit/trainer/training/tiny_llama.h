// Small LLaMA folders with random weights, for tests that need a checkpoint on disk.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "trainer/nn/model.h"

namespace regroup {

struct TinyLlama {
  int64_t kv_heads = 4;
  bool biases = false;
  bool tied = false;
  at::ScalarType dtype = at::kFloat;
  uint64_t seed = 1;
  /// Put into config.json over what is there.
  nlohmann::json config_changes = nlohmann::json::object();

  /// The weights: 2 layers, 4 heads of width 6, hidden size 10, 23 words.
  Model MakeModel() const;
  nlohmann::json MakeConfig() const;
  /// By the names of the checkpoint.
  std::map<std::string, at::Tensor> MakeTensors() const;
  /// config.json and model.safetensors.
  void Write(const std::filesystem::path& folder) const;
};

void WriteFolder(const std::filesystem::path& folder, const nlohmann::json& config,
                 const std::map<std::string, at::Tensor>& tensors);

}  // namespace regroup
