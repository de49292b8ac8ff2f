#include "trainer/checkpoint/checkpoint_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "services/common/base/bounded_json.h"
#include "services/common/base/files.h"
#include "services/common/base/input_file.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
/// The largest known have a few kilobytes; one of 64 MB takes ten times that in memory.
constexpr uint64_t kMostConfigBytes = 4 << 20;
constexpr char kIndexFile[] = "model.safetensors.index.json";

absl::StatusOr<nlohmann::json> ParseObject(const std::filesystem::path& path, const std::string& text) {
  absl::StatusOr<nlohmann::json> json = ParseJsonObject(text);
  if (json.ok()) return json;
  return absl::InvalidArgumentError(fmt::format("{} {}", path.string(), std::string(json.status().message())));
}

absl::Status CheckIsFolder(const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(folder, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    return absl::NotFoundError(fmt::format("folder {} does not exist", folder.string()));
  }
  if (error) return ErrnoStatus(error.value(), "open folder", folder);
  if (!std::filesystem::is_directory(status)) {
    return absl::InvalidArgumentError(
        fmt::format("{} is not a folder; name the folder that holds config.json", folder.string()));
  }
  return absl::OkStatus();
}

bool IsPickle(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".bin" || extension == ".pt" || extension == ".pth";
}

/// Returns the error for a folder that has no weights file of a known name.
absl::Status NoWeights(const std::filesystem::path& folder) {
  std::string pickle, other;
  for (const std::filesystem::path& entry : EntriesOf(folder).value_or(std::vector<std::filesystem::path>())) {
    const std::filesystem::path name = entry.filename();
    if (IsPickle(name)) pickle = name.string();
    if (name.extension() == ".safetensors") other = name.string();
  }
  if (!other.empty()) {
    return absl::NotFoundError(fmt::format("{} has {} but neither {} nor {}; rename or index its safetensors files",
                                           folder.string(), other, kSingleFile, kIndexFile));
  }
  if (!pickle.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{} has its weights in a pickle file ({}), which is never read because it can run code; convert "
                    "the folder with save_pretrained(folder, safe_serialization=True) in Transformers",
                    folder.string(), pickle));
  }
  return absl::NotFoundError(
      fmt::format("{} has no weights: neither {} nor {}", folder.string(), kSingleFile, kIndexFile));
}

using WeightMap = std::map<std::string, std::string>;

bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name.find('/') == std::string::npos && name != "." && name != "..";
}

absl::StatusOr<WeightMap> ReadIndex(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadInput(path));
  REGROUP_ASSIGN_OR_RETURN(const nlohmann::json json, ParseObject(path, text));
  const auto found = json.find("weight_map");
  if (found == json.end() || !found->is_object()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: \"weight_map\" must map tensor names to file names", path.string()));
  }
  WeightMap map;
  for (const auto& [tensor, file] : found->items()) {
    if (!file.is_string() || !IsPlainFileName(file.get<std::string>())) {
      return absl::InvalidArgumentError(
          fmt::format("{}: tensor \"{}\" must name a file of the same folder", path.string(), tensor));
    }
    map[tensor] = file.get<std::string>();
  }
  return map;
}

absl::Status CheckIndex(const std::filesystem::path& index, const WeightMap& map,
                        const std::map<std::string, std::shared_ptr<const SafetensorsFile>>& shards) {
  for (const auto& [tensor, file] : map) {
    if (shards.at(file)->Has(tensor)) continue;
    return absl::InvalidArgumentError(
        fmt::format("{} lists tensor \"{}\" in {}, but that file does not contain it", index.string(), tensor, file));
  }
  for (const auto& [name, shard] : shards) {
    for (const SafetensorsEntry& entry : shard->entries()) {
      const auto found = map.find(entry.name);
      if (found != map.end() && found->second == name) continue;
      return absl::InvalidArgumentError(
          fmt::format("{} contains tensor \"{}\", which {} {}", shard->path().string(), entry.name,
                      index.filename().string(), found == map.end() ? "does not list" : "lists in " + found->second));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::shared_ptr<const SafetensorsFile>>> OpenShards(const std::filesystem::path& folder) {
  const std::filesystem::path index = folder / kIndexFile;
  REGROUP_ASSIGN_OR_RETURN(const WeightMap map, ReadIndex(index));
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> shards;
  for (const auto& [tensor, file] : map) {
    if (shards.contains(file)) continue;
    REGROUP_ASSIGN_OR_RETURN(shards[file], SafetensorsFile::Open(folder / file));
  }
  REGROUP_RETURN_IF_ERROR(CheckIndex(index, map, shards));
  std::vector<std::shared_ptr<const SafetensorsFile>> files;
  for (const auto& [name, shard] : shards) files.push_back(shard);
  return files;
}

absl::StatusOr<std::vector<std::shared_ptr<const SafetensorsFile>>> OpenWeights(const std::filesystem::path& folder) {
  std::error_code error;
  if (std::filesystem::exists(folder / kSingleFile, error)) {
    REGROUP_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(folder / kSingleFile));
    return std::vector{std::move(file)};
  }
  if (std::filesystem::exists(folder / kIndexFile, error)) return OpenShards(folder);
  return NoWeights(folder);
}

uint64_t BytesOf(const TensorInfo& tensor) {
  return static_cast<uint64_t>(tensor.elements() * SafetensorsDtypeBytes(tensor.dtype));
}

struct DtypeCount {
  SafetensorsDtype dtype = SafetensorsDtype::kF32;
  int64_t elements = 0;
  int64_t tensors = 0;
};

/// Returns the dtype with most elements first; equal counts are in the order of the enum.
std::vector<DtypeCount> CountDtypes(const std::vector<TensorInfo>& tensors) {
  std::map<SafetensorsDtype, DtypeCount> by_dtype;
  for (const TensorInfo& tensor : tensors) {
    DtypeCount& count = by_dtype[tensor.dtype];
    count.dtype = tensor.dtype;
    count.elements += tensor.elements();
    ++count.tensors;
  }
  std::vector<DtypeCount> counts;
  for (const auto& [dtype, count] : by_dtype) counts.push_back(count);
  std::stable_sort(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.elements > b.elements; });
  return counts;
}

}  // namespace

int64_t TensorInfo::elements() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

absl::StatusOr<std::shared_ptr<const CheckpointFolder>> CheckpointFolder::Open(
    const std::filesystem::path& folder, std::shared_ptr<const CheckpointDigests> expected) {
  REGROUP_RETURN_IF_ERROR(CheckIsFolder(folder));
  std::shared_ptr<CheckpointFolder> checkpoint(new CheckpointFolder());
  checkpoint->path_ = folder;
  checkpoint->expected_ = std::move(expected);
  const std::filesystem::path config_path = folder / "config.json";
  REGROUP_ASSIGN_OR_RETURN(checkpoint->config_text_, ReadInput(config_path, kMostConfigBytes));
  REGROUP_RETURN_IF_ERROR(checkpoint->CheckConfig());
  REGROUP_ASSIGN_OR_RETURN(checkpoint->config_, ParseObject(config_path, checkpoint->config_text_));
  REGROUP_ASSIGN_OR_RETURN(checkpoint->files_, OpenWeights(folder));
  checkpoint->ListTensors();
  return checkpoint;
}

void CheckpointFolder::ListTensors() {
  for (size_t i = 0; i < files_.size(); ++i) {
    for (const SafetensorsEntry& entry : files_[i]->entries()) {
      tensors_.push_back({entry.name, entry.dtype, entry.shape});
      file_by_name_[entry.name] = i;
    }
  }
  std::sort(tensors_.begin(), tensors_.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
}

const TensorInfo* CheckpointFolder::Find(std::string_view name) const {
  const auto found = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                      [](const TensorInfo& tensor, std::string_view key) { return tensor.name < key; });
  return found == tensors_.end() || found->name != name ? nullptr : &*found;
}

absl::StatusOr<at::Tensor> CheckpointFolder::Tensor(std::string_view name) const {
  const auto found = file_by_name_.find(name);
  if (found == file_by_name_.end()) {
    return absl::NotFoundError(fmt::format("checkpoint {} has no tensor \"{}\"", path_.string(), name));
  }
  if (expected_ != nullptr && expected_->are_for_copies) return CheckedCopy(name);
  REGROUP_RETURN_IF_ERROR(CheckTensor(name));
  return files_[found->second]->Tensor(name);
}

uint64_t CheckpointFolder::TotalBytes() const {
  uint64_t total = 0;
  for (const TensorInfo& tensor : tensors_) total += BytesOf(tensor);
  return total;
}

SafetensorsDtype CheckpointFolder::MainDtype() const {
  const std::vector<DtypeCount> counts = CountDtypes(tensors_);
  return counts.empty() ? SafetensorsDtype::kF32 : counts.front().dtype;
}

std::string CheckpointFolder::DtypeSummary() const {
  std::string summary;
  for (const DtypeCount& count : CountDtypes(tensors_)) {
    summary += fmt::format("{}{} ({} {})", summary.empty() ? "" : ", ", SafetensorsDtypeName(count.dtype),
                           count.tensors, count.tensors == 1 ? "tensor" : "tensors");
  }
  return summary;
}

}  // namespace regroup
