// JSON that others wrote: files of checkpoints, data, records on disk.
//
// Copying, comparing and printing a JSON value walk it by recursion, and a megabyte of brackets would end the program
// there. Such text is refused before it becomes a value. Pure functions, for any thread.
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

/// The deepest nesting of brackets outside of texts. Exact for valid JSON, and for other text up to where it stops
/// being valid.
size_t JsonDepth(std::string_view text);

/// INVALID_ARGUMENT says what is wrong, as the end of a sentence that the caller starts with the file's name:
/// "is not valid JSON: ...".
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text);

/// The same for text that must be an object.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text);

/// A whole number of `Integer`'s range, whatever way it is written as a number without fraction part; nothing for
/// anything else, also where get<Integer>() would wrap around.
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
