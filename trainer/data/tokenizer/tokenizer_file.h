// Helpers for the steps of a tokenizer that read its JSON files: the file as an object, the "pattern" of a step, and
// the limit on how much a step may lengthen a text. The functions may be called from any thread.
#pragma once

#include <cstddef>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/data/tokenizer/regex.h"

namespace regroup {

/// Reads a file of a checkpoint folder that must hold a JSON object. Returns NOT_FOUND if it is missing, and
/// INVALID_ARGUMENT with the path if it is not a JSON object.
absl::StatusOr<nlohmann::json> ReadJsonObject(const std::filesystem::path& path);

/// Does the same, but returns an empty object if there is no file.
absl::StatusOr<nlohmann::json> ReadJsonObjectIfPresent(const std::filesystem::path& path);

/// Does the same, and keeps the order of the keys.
absl::StatusOr<nlohmann::ordered_json> ReadOrderedJsonObjectIfPresent(const std::filesystem::path& path);

/// Parses the "pattern" of a Split or a Replace: {"String": text} or {"Regex": expression}. Returns INVALID_ARGUMENT or
/// UNIMPLEMENTED otherwise.
absl::StatusOr<Regex> ParsePattern(const nlohmann::json& json);

/// Rejects a step that makes a text too long: otherwise a few lines of tokenizer.json, each of which doubles it, would
/// exhaust memory. Returns INVALID_ARGUMENT for more than 32 times the bytes, which no normal form or byte alphabet
/// exceeds, plus a kilobyte for prefixes.
absl::Status CheckTextGrowth(size_t bytes_before, size_t bytes_after);

}  // namespace regroup
