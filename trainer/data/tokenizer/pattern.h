// The "pattern" of a Split or a Replace: {"String": text} or {"Regex": expression}.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"
#include "trainer/data/tokenizer/regex.h"

namespace regroup {

/// INVALID_ARGUMENT or UNIMPLEMENTED. Any thread.
absl::StatusOr<Regex> ParsePattern(const nlohmann::json& json);

}  // namespace regroup
