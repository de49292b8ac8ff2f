#include "trainer/training/checkpoint_manifest.h"

#include <fmt/format.h>

#include <optional>

#include "services/common/base/bounded_json.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

using Json = nlohmann::json;

/// Format 1 had one piece per group and rank; format 2 one per bucket; in format 3 each block's attention comes before
/// the rest of the block.
constexpr int64_t kFormat = 3;

absl::Status Invalid(std::string_view what) {
  return absl::DataLossError(fmt::format("the manifest is not valid: {}", what));
}

template <typename Integer>
std::optional<Integer> IntegerAt(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? std::nullopt : IntegerIn<Integer>(*found);
}

std::string TextAt(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

absl::StatusOr<CheckpointManifest::File> ParseFile(const Json& json, size_t rank, size_t ranks) {
  if (!json.is_object()) return Invalid(fmt::format("file {} is not an object", rank));
  const std::optional<uint64_t> bytes = IntegerAt<uint64_t>(json, "bytes");
  CheckpointManifest::File file{TextAt(json, "name"), bytes.value_or(0), TextAt(json, "sha256")};
  const std::string expected = RankFileName(static_cast<int64_t>(rank), static_cast<int64_t>(ranks));
  if (file.name != expected) return Invalid(fmt::format("file {} is not named {}", rank, expected));
  if (!bytes || file.sha256.empty()) return Invalid(fmt::format("{} has no size or digest", file.name));
  return file;
}

}  // namespace

std::string RankFileName(int64_t rank, int64_t ranks) {
  return fmt::format("rank-{:05}-of-{:05}.safetensors", rank, ranks);
}

std::string FormatCheckpointManifest(const CheckpointManifest& manifest) {
  nlohmann::ordered_json json = {{"format", kFormat}, {"step", manifest.step}, {"ranks", manifest.files.size()}};
  for (const CheckpointManifest::File& file : manifest.files) {
    json["files"].push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  return json.dump(2) + "\n";
}

absl::StatusOr<CheckpointManifest> ParseCheckpointManifest(std::string_view text) {
  const absl::StatusOr<Json> json = ParseJsonObject(text);
  if (!json.ok()) return Invalid(std::string(json.status().message()));
  if (IntegerAt<int64_t>(*json, "format") != kFormat) return Invalid(fmt::format("its format is not {}", kFormat));
  const std::optional<int64_t> step = IntegerAt<int64_t>(*json, "step");
  if (!step || *step < 0) return Invalid("it has no step");
  const auto files = json->find("files");
  if (files == json->end() || !files->is_array() || files->empty()) return Invalid("it lists no files");
  if (IntegerAt<size_t>(*json, "ranks") != files->size()) return Invalid("its file and rank counts differ");
  CheckpointManifest manifest{.step = *step};
  for (const Json& file : *files) {
    REGROUP_ASSIGN_OR_RETURN(manifest.files.emplace_back(), ParseFile(file, manifest.files.size(), files->size()));
  }
  return manifest;
}

}  // namespace regroup
