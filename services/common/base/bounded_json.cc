#include "services/common/base/bounded_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace regroup {

size_t JsonDepth(std::string_view text) {
  size_t depth = 0, deepest = 0;
  bool in_text = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') in_text = !in_text;
    if (in_text && c == '\\') ++i;
    if (in_text) continue;
    if (c == '[' || c == '{') deepest = std::max(deepest, ++depth);
    if ((c == ']' || c == '}') && depth > 0) --depth;
  }
  return deepest;
}

absl::StatusOr<nlohmann::json> ParseJson(std::string_view text) {
  if (JsonDepth(text) > kMaxJsonDepth) {
    return absl::InvalidArgumentError(fmt::format("has more than {} levels of nesting", kMaxJsonDepth));
  }
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(fmt::format("is not valid JSON: {}", error.what()));
  }
}

absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text) {
  absl::StatusOr<nlohmann::json> json = ParseJson(text);
  if (json.ok() && !json->is_object()) return absl::InvalidArgumentError("must hold a JSON object");
  return json;
}

}  // namespace regroup
