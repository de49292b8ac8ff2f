#include "trainer/data/tokenizer/tokenizer_file.h"

#include <fmt/format.h>

#include <string>

#include "services/common/base/bounded_json.h"
#include "services/common/base/input_file.h"
#include "services/common/base/status_macros.h"

namespace regroup {

absl::StatusOr<nlohmann::json> ReadJsonObject(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadInput(path));
  absl::StatusOr<nlohmann::json> json = ParseJsonObject(text);
  if (json.ok()) return json;
  return absl::InvalidArgumentError(fmt::format("{} {}", path.string(), std::string(json.status().message())));
}

absl::StatusOr<nlohmann::json> ReadJsonObjectIfPresent(const std::filesystem::path& path) {
  absl::StatusOr<nlohmann::json> json = ReadJsonObject(path);
  if (absl::IsNotFound(json.status())) return nlohmann::json::object();
  return json;
}

absl::StatusOr<nlohmann::ordered_json> ReadOrderedJsonObjectIfPresent(const std::filesystem::path& path) {
  // The first parser has limits, and says what is wrong.
  const absl::StatusOr<nlohmann::json> checked = ReadJsonObject(path);
  if (absl::IsNotFound(checked.status())) return nlohmann::ordered_json::object();
  REGROUP_RETURN_IF_ERROR(checked.status());
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadInput(path));
  nlohmann::ordered_json ordered = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (ordered.is_object()) return ordered;
  return absl::DataLossError(fmt::format("{} changed while it was read", path.string()));
}

absl::StatusOr<Regex> ParsePattern(const nlohmann::json& json) {
  if (json.contains("Regex")) return Regex::FromRuby(json.at("Regex").get<std::string>());
  // An empty text matches nowhere.
  if (json.contains("String") && json.at("String") == "") return Regex::FromPcre("(?!)");
  if (json.contains("String")) return Regex::Literal(json.at("String").get<std::string>());
  return absl::InvalidArgumentError("a pattern must be {\"String\": ...} or {\"Regex\": ...}");
}

absl::Status CheckTextGrowth(size_t bytes_before, size_t bytes_after) {
  constexpr size_t kMaxFactor = 32, kMaxPrefix = 1024;
  if (bytes_after <= bytes_before * kMaxFactor + kMaxPrefix) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("the tokenizer would make {} bytes out of a text of {} bytes", bytes_after, bytes_before));
}

}  // namespace regroup
