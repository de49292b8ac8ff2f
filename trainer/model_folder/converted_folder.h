// Writes a converted model as a Hugging Face folder.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/families/family.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/nn/model.h"

namespace regroup {

/// Returns the family as which a model of this configuration is written: the source's, or that of Family::one_head.
const Family& WrittenFamily(const Family& family, const ModelConfig& converted);

/// Returns true if a model of this configuration is written as a class with so many KV heads; otherwise it is
/// `expanded` (compact_attention.h).
bool IsStandardLayout(const Family& family, const ModelConfig& converted);

/// Returns the source's config.json with the KV heads of `converted`; under "regroup" it records the source and the
/// layout. If the weights are not tied although the configuration ties them, it says so. The weights are written as
/// plain numbers, so that quantization_config is left out. `architectures` is added if the source does not name its
/// class. All other keys are unchanged, unless the result is of another class (WrittenFamily).
nlohmann::json ConvertedConfig(const SourceModel& source, const ModelConfig& converted,
                               const nlohmann::json& provenance);

/// The model to write: its configuration, its outer parameters, and its blocks, which are produced one at a time.
struct ConvertedModel {
  ModelConfig config;
  Model outer;
  std::function<absl::StatusOr<Block>(int64_t layer)> block;
  /// True to copy the tensors of a composite's other parts.
  bool with_other_parts = false;
};

/// Writes config.json and the weights in `dtype` under the family's names. The folder must exist and be empty.
absl::Status WriteConvertedFolder(const std::filesystem::path& folder, const SourceModel& source,
                                  const nlohmann::json& provenance, at::ScalarType dtype, const ConvertedModel& model);

}  // namespace regroup
