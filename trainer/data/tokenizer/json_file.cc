#include "trainer/data/tokenizer/json_file.h"

#include <fmt/format.h>

#include <string>

#include "services/base/files.h"
#include "services/base/status_macros.h"

namespace regroup {

absl::StatusOr<nlohmann::json> ReadJsonObject(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::InvalidArgumentError(fmt::format("{} is not valid JSON", path.string()));
  if (!json.is_object()) return absl::InvalidArgumentError(fmt::format("{} must hold a JSON object", path.string()));
  return json;
}

absl::StatusOr<nlohmann::json> ReadJsonObjectIfPresent(const std::filesystem::path& path) {
  absl::StatusOr<nlohmann::json> json = ReadJsonObject(path);
  if (absl::IsNotFound(json.status())) return nlohmann::json::object();
  return json;
}

}  // namespace regroup
