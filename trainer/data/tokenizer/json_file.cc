#include "trainer/data/tokenizer/json_file.h"

#include <fmt/format.h>

#include <string>

#include "services/common/base/bounded_json.h"
#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"

namespace regroup {

absl::StatusOr<nlohmann::json> ReadJsonObject(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  absl::StatusOr<nlohmann::json> json = ParseJsonObject(text);
  if (json.ok()) return json;
  return absl::InvalidArgumentError(fmt::format("{} {}", path.string(), std::string(json.status().message())));
}

absl::StatusOr<nlohmann::json> ReadJsonObjectIfPresent(const std::filesystem::path& path) {
  absl::StatusOr<nlohmann::json> json = ReadJsonObject(path);
  if (absl::IsNotFound(json.status())) return nlohmann::json::object();
  return json;
}

}  // namespace regroup
