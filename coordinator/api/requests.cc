#include "coordinator/api/requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "services/common/base/resource_names.h"

namespace regroup {
namespace {

constexpr size_t kLongestId = 63;
/// Longest id in a resource's name; a malformed id up to this length is reported as NOT_FOUND.
constexpr size_t kLongestNamedId = 128;
constexpr size_t kLargestPage = 1000;

bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

}  // namespace

absl::StatusOr<std::string> IdFromName(std::string_view collection, const std::string& name) {
  std::optional<std::string> id = IdIn(collection, name);
  if (id && IsPlainText(*id, kLongestNamedId)) return *std::move(id);
  const std::string shown = IsPlainText(name, kLongestNamedId) ? fmt::format("\"{}\"", name) : "this name";
  return InvalidFields({Violation("name", fmt::format("write {}/ID instead of {}", collection, shown))});
}

bool IsResourceId(std::string_view id) {
  if (id.empty() || id.size() > kLongestId || !IsLowerOrDigit(id.front())) return false;
  return std::all_of(id.begin(), id.end(), [](char c) { return c == '-' || IsLowerOrDigit(c); });
}

bool IsPlainText(std::string_view text, size_t longest) {
  return text.size() <= longest &&
         std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

FieldViolation Violation(std::string_view field, std::string_view description) {
  FieldViolation violation;
  violation.set_field(std::string(field));
  violation.set_description(std::string(description));
  return violation;
}

absl::StatusOr<size_t> PageSize(int requested, size_t fallback) {
  if (requested < 0) return InvalidFields({Violation("page_size", "write 0 or a positive number")});
  return requested == 0 ? fallback : std::min(static_cast<size_t>(requested), kLargestPage);
}

absl::StatusOr<int64_t> PositionOf(const std::string& page_token) {
  if (page_token.empty()) return 0;
  int64_t position = 0;
  const char* end = page_token.data() + page_token.size();
  const auto [stop, error] = std::from_chars(page_token.data(), end, position);
  if (error == std::errc() && stop == end && position > 0) return position;
  return InvalidFields({Violation("page_token", "write the next_page_token of the previous page, or leave it empty")});
}

std::string PageToken(int64_t position) { return position == 0 ? "" : std::to_string(position); }

}  // namespace regroup
