// Parses untrusted JSON: files of checkpoints, data, records on disk.
//
// Copying, comparing and printing a JSON value is recursive, so a megabyte of brackets would overflow the stack. Such
// text is rejected before it becomes a value. Pure functions, for any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"

namespace regroup {

/// Ten times the nesting of any published checkpoint's files.
inline constexpr size_t kMaxJsonDepth = 100;

/// Returns the deepest nesting of brackets outside of strings. Exact for valid JSON, and for other text up to its first
/// error.
size_t JsonDepth(std::string_view text);

/// Parses the text. INVALID_ARGUMENT states the error as the end of a sentence that the caller starts with the file's
/// name: "is not valid JSON: ...".
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text);

/// Parses text that must hold a JSON object.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text);

/// Returns the value if it is a number without a fraction in `Integer`'s range, in any notation; nothing for any other
/// value, including those for which get<Integer>() would wrap around.
template <typename Integer>
std::optional<Integer> IntegerIn(const nlohmann::json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (std::in_range<Integer>(number)) return static_cast<Integer>(number);
  } else if (value.is_number_integer()) {
    const auto number = value.get<int64_t>();
    if (std::in_range<Integer>(number)) return static_cast<Integer>(number);
  }
  return std::nullopt;
}

}  // namespace regroup
