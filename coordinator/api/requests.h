// Checks that all services apply to a request before they look at its content. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "services/common/base/error.h"

namespace regroup {

/// Returns the id in "jobs/{job}" for collection "jobs". INVALID_ARGUMENT (INVALID_FIELD) for any other form.
absl::StatusOr<std::string> IdFromName(std::string_view collection, const std::string& name);

/// Returns true for 1 to 63 lower-case letters, digits and hyphens, beginning with a letter or digit.
bool IsResourceId(std::string_view id);

/// Returns true for text that is safe in a store, a log and a terminal: at most `longest` bytes, no control characters.
bool IsPlainText(std::string_view text, size_t longest);

FieldViolation Violation(std::string_view field, std::string_view description);

/// Returns the page size to use: `fallback` for 0, at most 1000. INVALID_ARGUMENT for a negative one.
absl::StatusOr<size_t> PageSize(int requested, size_t fallback);

/// Returns the position that a page token stands for; 0 without a token. INVALID_ARGUMENT for a malformed token.
absl::StatusOr<int64_t> PositionOf(const std::string& page_token);
std::string PageToken(int64_t position);

}  // namespace regroup
