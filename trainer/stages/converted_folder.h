// Writing a converted model as a Hugging Face folder.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/families/family.h"
#include "trainer/nn/model.h"
#include "trainer/stages/source_model.h"

namespace regroup {

/// The source's config.json with `kv_heads` and where the model comes from under "regroup"; all else as it is.
nlohmann::json ConvertedConfig(const SourceModel& source, int64_t kv_heads, const nlohmann::json& provenance);

/// Writes config.json and the weights in `dtype` under the family's names. The folder must exist and be empty.
/// `block` gives the weights of one layer at a time.
absl::Status WriteConvertedFolder(const std::filesystem::path& folder, const SourceModel& source, int64_t kv_heads,
                                  const nlohmann::json& provenance, at::ScalarType dtype, const Model& outer,
                                  const std::function<absl::StatusOr<Block>(int64_t layer)>& block);

/// Copies everything of the source that is not weights, configuration or an index: tokenizer and generation files.
absl::Status CopyCompanionFiles(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace regroup
