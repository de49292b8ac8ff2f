// A JSON file of a checkpoint folder that must hold an object.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"

namespace regroup {

/// NOT_FOUND, or INVALID_ARGUMENT with the path for text that is not a JSON object. Any thread.
absl::StatusOr<nlohmann::json> ReadJsonObject(const std::filesystem::path& path);

/// The same, and an empty object where there is no file.
absl::StatusOr<nlohmann::json> ReadJsonObjectIfPresent(const std::filesystem::path& path);

}  // namespace regroup
