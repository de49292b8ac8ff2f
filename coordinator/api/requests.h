// What all services do with a request before they look at its content. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "services/common/base/error.h"

namespace regroup {

/// The id in "jobs/{job}" for collection "jobs". INVALID_ARGUMENT (INVALID_FIELD) for any other form.
absl::StatusOr<std::string> IdFromName(std::string_view collection, const std::string& name);

/// Lower-case letters, digits and hyphens, beginning with a letter or digit, at most 63.
bool IsResourceId(std::string_view id);

/// Text that a store, a log and a terminal can hold: at most `longest` bytes, no control characters.
bool IsPlainText(std::string_view text, size_t longest);

FieldViolation Violation(std::string_view field, std::string_view description);

/// The page size to use: `fallback` for 0, at most 1000. INVALID_ARGUMENT for less than 0.
absl::StatusOr<size_t> PageSize(int requested, size_t fallback);

/// The position that a page token stands for; 0 for no token. INVALID_ARGUMENT for one that was not handed out.
absl::StatusOr<int64_t> PositionOf(const std::string& page_token);
std::string PageToken(int64_t position);

}  // namespace regroup
