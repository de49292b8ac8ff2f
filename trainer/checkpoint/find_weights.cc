#include "trainer/checkpoint/find_weights.h"

#include <fmt/format.h>

#include <array>
#include <set>
#include <utility>

#include "services/common/base/bounded_json.h"
#include "services/common/base/input_file.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/foreign_file.h"

namespace regroup {
namespace {

constexpr char kSafetensors[] = "model.safetensors";
/// In the order in which they are looked for.
constexpr std::array<const char*, 4> kNames = {kSafetensors, "model.safetensors.index.json", "pytorch_model.bin",
                                               "pytorch_model.bin.index.json"};

/// Returns the error for a folder that has no weights file of a known name.
absl::Status NoWeights(const std::filesystem::path& folder) {
  std::string pickle, other, gguf;
  for (const std::filesystem::path& entry : EntriesOf(folder).value_or(std::vector<std::filesystem::path>())) {
    const std::filesystem::path name = entry.filename(), extension = entry.extension();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth") pickle = name.string();
    if (extension == ".safetensors") other = name.string();
    if (extension == ".gguf") gguf = name.string();
  }
  const std::string names = fmt::format("neither {} nor {}, nor their index", kNames[0], kNames[2]);
  if (!other.empty() || !pickle.empty()) {
    return absl::NotFoundError(
        fmt::format("{} has {} but {}; rename it if it holds all weights under the names of "
                    "Transformers, or write the index of its shards",
                    folder.string(), other.empty() ? pickle : other, names));
  }
  if (!gguf.empty()) {
    return absl::NotFoundError(fmt::format(
        "{} has its weights in {}, which is not read; convert it with from_pretrained(folder, gguf_file=\"{}\") and "
        "save_pretrained in Transformers",
        folder.string(), gguf, gguf));
  }
  return absl::NotFoundError(fmt::format("{} has no weights: {}", folder.string(), names));
}

/// Returns the file's name without "./" at its beginning; empty for a path that leaves the folder.
std::string FileNameOf(const nlohmann::json& file) {
  if (!file.is_string()) return "";
  const std::string name = std::filesystem::path(file.get<std::string>()).lexically_normal().string();
  return name.find('/') == std::string::npos && name != "." && name != ".." ? name : "";
}

absl::Status ReadIndex(const std::filesystem::path& path, FoundWeights& found) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadInput(path));
  REGROUP_ASSIGN_OR_RETURN(const nlohmann::json json, ParseFolderJson(path, text));
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object() || map->empty()) {
    return absl::DataLossError(fmt::format("{}: \"weight_map\" must map tensor names to file names", path.string()));
  }
  for (const auto& [tensor, file] : map->items()) {
    found.listed[tensor] = FileNameOf(file);
    if (found.listed[tensor].empty()) {
      return absl::DataLossError(
          fmt::format("{}: tensor \"{}\" must name a file of the same folder", path.string(), tensor));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<FoundWeights> OpenShards(const std::filesystem::path& index) {
  FoundWeights found;
  REGROUP_RETURN_IF_ERROR(ReadIndex(index, found));
  std::set<std::string> names;
  for (const auto& [tensor, file] : found.listed) names.insert(file);
  for (const std::string& name : names) {
    REGROUP_ASSIGN_OR_RETURN(auto file, OpenWeightsFile(index.parent_path() / name));
    found.files.push_back(std::move(file));
  }
  return found;
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseFolderJson(const std::filesystem::path& path, const std::string& text) {
  absl::StatusOr<nlohmann::json> json = ParseJsonObject(text);
  if (json.ok()) return json;
  const std::string foreign = ForeignFile(text, KnownFormat::kJson);
  return absl::DataLossError(
      fmt::format("{} {}", path.string(), foreign.empty() ? std::string(json.status().message()) : foreign));
}

absl::StatusOr<FoundWeights> FindWeights(const std::filesystem::path& folder) {
  for (const char* name : kNames) {
    const std::filesystem::path path = folder / name;
    // A link that leads nowhere counts: it is what an interrupted download leaves.
    REGROUP_ASSIGN_OR_RETURN(const bool is_taken, IsTaken(path));
    if (!is_taken) continue;
    if (path.extension() == ".json") return OpenShards(path);
    REGROUP_ASSIGN_OR_RETURN(auto file, OpenWeightsFile(path));
    return FoundWeights{.files = {std::move(file)}};
  }
  return NoWeights(folder);
}

}  // namespace regroup
