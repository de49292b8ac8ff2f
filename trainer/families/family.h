// A model family: how its config.json is read and what its tensors are called. A family holds names and shapes only;
// the computation is in trainer/nn. To add one: a file beside llama.cc and one word in cmake/Families.cmake.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/nn/model_config.h"

namespace regroup {

/// How a parameter lies in the checkpoint's tensor.
enum class Packing {
  /// As ours.
  kPlain,
  /// [in, out] instead of [out, in].
  kTransposed,
  /// Query, key and value of one head after the other: [heads, 3, width, in] flattened to two axes; biases likewise.
  kFusedByHead,
  /// All queries, then all keys, then all values along the last axis, and [in, out].
  kFusedTransposed,
};

/// Our name of a parameter and the checkpoint's; "{}" stands for the layer's index. Rules of an encoder-decoder name
/// the stack in place of "layers": "encoder.{}.", "decoder.{}." or "cross.{}.", with the index in the stack. The rules
/// of query, key and value (in this order) have one checkpoint name where they are fused.
struct NameRule {
  std::string ours;
  std::string checkpoint;
  Packing packing = Packing::kPlain;
  /// The parameter is missing in some checkpoints of the family.
  bool optional = false;
  /// The rule serves models with (true) or without (false) a gated feed-forward only.
  std::optional<bool> gated = std::nullopt;
};

struct Family {
  /// The model_type values of config.json that it serves, as listed in cmake/Families.cmake; the first is the family's
  /// name.
  std::vector<std::string_view> model_types;
  /// Names the missing or unsupported key on error.
  absl::StatusOr<ModelConfig> (*read_config)(const nlohmann::json& config);
  std::vector<NameRule> names;
  /// Checkpoints of the bare decoder leave this out in front of their names ("transformer." of GPT-2).
  std::string_view prefix = "";
  /// Whether Transformers' class of this family reads num_key_value_heads.
  bool standard_gqa = true;

  std::string_view name() const { return model_types.front(); }
};

/// Every family of this build, by the generated table.
const std::vector<Family>& AllFamilies();

/// The family of a config.json, by its model_type. INVALID_ARGUMENT lists the known ones.
absl::StatusOr<const Family*> FamilyOf(const nlohmann::json& config);

/// Where a parameter of ours lies: the rule with its names filled in.
struct ParameterPlace {
  std::string name;
  Packing packing = Packing::kPlain;
  /// 0 query, 1 key, 2 value, where they are fused.
  int part = 0;
  bool optional = false;
};

/// The place of our "layers.3.attention.key.weight" in a model of this configuration; none if the family has no such
/// parameter.
std::optional<ParameterPlace> PlaceOf(const Family& family, const ModelConfig& config, std::string_view ours);

}  // namespace regroup
