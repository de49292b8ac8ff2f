// Recognises files that hold something else than JSON Lines, and says why a line is not JSON. Pure; any thread may
// call.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace regroup {

/// Returns INVALID_ARGUMENT with what the file is and how to convert it, if its content does not start as text in UTF-8
/// does, or as a list; `start` has the first bytes, at least 512 if there are as many.
absl::Status CheckStartsAsLines(const std::filesystem::path& path, std::string_view start);

/// Returns what is wrong with a line that does not parse, and what to do: "the line has NaN, ...".
std::string WhyNotJson(std::string_view line);

}  // namespace regroup
