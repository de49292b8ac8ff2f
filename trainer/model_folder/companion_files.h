// The files of a model folder beside config.json and the weights: those that make it load (tokenizer, templates, code
// of its own) and those that say who may use it. Functions may be called from any thread.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"

namespace regroup {

/// Copies the companion files of a folder into another one: files that Transformers writes or reads, licences and
/// notices, templates of `additional_chat_templates`, and the modules that `auto_map` of `config` (its config.json) and
/// of tokenizer_config.json names, with those that they import. Others are left out: a name that is not known may be
/// that of a secret. PERMISSION_DENIED for a link that leaves the folder, INVALID_ARGUMENT for files that are too large
/// or too many.
absl::Status CopyCompanionFiles(const nlohmann::json& config, const std::filesystem::path& from,
                                const std::filesystem::path& to);

/// Returns the error that CopyCompanionFiles would return for the files as they are.
absl::Status CheckCompanionFiles(const nlohmann::json& config, const std::filesystem::path& folder);

}  // namespace regroup
