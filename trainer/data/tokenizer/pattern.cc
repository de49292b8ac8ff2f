#include "trainer/data/tokenizer/pattern.h"

#include <string>

#include <nlohmann/json.hpp>

namespace regroup {

absl::StatusOr<Regex> ParsePattern(const nlohmann::json& json) {
  if (json.contains("Regex")) return Regex::FromRuby(json.at("Regex").get<std::string>());
  if (json.contains("String")) return Regex::Literal(json.at("String").get<std::string>());
  return absl::InvalidArgumentError("a pattern must be {\"String\": ...} or {\"Regex\": ...}");
}

}  // namespace regroup
