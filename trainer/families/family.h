// A model family: how its config.json is read and what its tensors are called. A family holds names and shapes only;
// the computation is in trainer/nn. To add one: a file beside llama.cc and one word in CMakeLists.txt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/nn/model_config.h"

namespace regroup {

/// Our name of a parameter and the checkpoint's; "{}" stands for the layer's index.
struct NameRule {
  std::string_view ours;
  std::string_view checkpoint;
};

struct Family {
  /// The model_type values of config.json that it serves; the first is the family's name.
  std::vector<std::string_view> model_types;
  /// Names the missing or unsupported key on error.
  absl::StatusOr<ModelConfig> (*read_config)(const nlohmann::json& config);
  std::vector<NameRule> names;
  /// Whether Transformers' class of this family reads num_key_value_heads.
  bool standard_gqa = true;

  std::string_view name() const { return model_types.front(); }
};

/// Every family of this build, by the generated table.
const std::vector<const Family*>& AllFamilies();

/// The family of a config.json, by its model_type. INVALID_ARGUMENT lists the known ones.
absl::StatusOr<const Family*> FamilyOf(const nlohmann::json& config);

/// The checkpoint's name of our "layers.3.attention.key.weight"; empty if the family has no such parameter.
std::string CheckpointName(const Family& family, std::string_view ours);

}  // namespace regroup
