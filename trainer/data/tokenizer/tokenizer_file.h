// What reading the JSON files of a tokenizer has in common, whatever step reads its part: the file as an object, the
// "pattern" of a step, and the limit of what a step may make of a text. Functions for any thread.
#pragma once

#include <cstddef>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/tokenizer/regex.h"

namespace regroup {

/// Reads a file of a checkpoint folder that must hold a JSON object. NOT_FOUND, or INVALID_ARGUMENT with the path for
/// text that is not one.
absl::StatusOr<nlohmann::json> ReadJsonObject(const std::filesystem::path& path);

/// The same, and an empty object where there is no file.
absl::StatusOr<nlohmann::json> ReadJsonObjectIfPresent(const std::filesystem::path& path);

/// Parses the "pattern" of a Split or a Replace: {"String": text} or {"Regex": expression}. INVALID_ARGUMENT or
/// UNIMPLEMENTED.
absl::StatusOr<Regex> ParsePattern(const nlohmann::json& json);

/// Refuses a step that makes a text too long: a few lines of tokenizer.json, each of which doubles it, would take all
/// memory otherwise. INVALID_ARGUMENT for more than 32 times the bytes, which no normal form and no alphabet of bytes
/// needs, and a kilobyte for prefixes.
absl::Status CheckTextGrowth(size_t bytes_before, size_t bytes_after);

}  // namespace regroup
