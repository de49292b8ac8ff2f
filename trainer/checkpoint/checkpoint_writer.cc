#include "trainer/checkpoint/checkpoint_writer.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

absl::Status CheckHasNoWeights(const std::filesystem::path& folder) {
  for (const char* name : {kSingleFile, kIndexFile}) {
    std::error_code error;
    if (std::filesystem::exists(folder / name, error)) {
      return absl::AlreadyExistsError(fmt::format("{} already exists", (folder / name).string()));
    }
  }
  return absl::OkStatus();
}

/// Collects tensors and writes a shard whenever the next tensor would make it too large. The number of shards is known
/// only at the end, so until then the shards have temporary names.
class ShardWriter {
 public:
  ShardWriter(std::filesystem::path folder, uint64_t max_shard_bytes, std::map<std::string, std::string> metadata)
      : folder_(std::move(folder)), max_shard_bytes_(max_shard_bytes), metadata_(std::move(metadata)) {}

  ~ShardWriter() {
    std::error_code ignored;
    for (const std::filesystem::path& path : unfinished_) std::filesystem::remove(path, ignored);
  }

  absl::Status Add(NamedTensor tensor) {
    if (!names_.insert(tensor.first).second) {
      return absl::InvalidArgumentError(fmt::format("tensor \"{}\" is given twice", tensor.first));
    }
    const uint64_t bytes = tensor.second.nbytes();
    if (!shard_.empty() && shard_bytes_ + bytes > max_shard_bytes_) REGROUP_RETURN_IF_ERROR(WriteShard());
    shard_bytes_ += bytes;
    total_bytes_ += bytes;
    shard_.push_back(std::move(tensor));
    return absl::OkStatus();
  }

  absl::StatusOr<WrittenCheckpoint> Finish() {
    REGROUP_RETURN_IF_ERROR(WriteShard());
    WrittenCheckpoint result{{}, total_bytes_};
    for (size_t i = 0; i < unfinished_.size(); ++i) result.files.push_back(FinalName(i));
    for (size_t i = 0; i < unfinished_.size(); ++i) REGROUP_RETURN_IF_ERROR(RenameShard(i));
    if (unfinished_.size() > 1) {
      REGROUP_RETURN_IF_ERROR(WriteFileAtomically(folder_ / kIndexFile, IndexText()));
      result.files.emplace_back(kIndexFile);
    }
    unfinished_.clear();
    REGROUP_RETURN_IF_ERROR(SyncPath(folder_));
    return result;
  }

 private:
  absl::Status WriteShard() {
    const std::filesystem::path path = folder_ / fmt::format("model-{:05}.safetensors.part", unfinished_.size() + 1);
    REGROUP_RETURN_IF_ERROR(WriteSafetensors(path, shard_, metadata_));
    for (const auto& [name, tensor] : shard_) shard_of_[name] = unfinished_.size();
    unfinished_.push_back(path);
    shard_.clear();
    shard_bytes_ = 0;
    return absl::OkStatus();
  }

  std::string FinalName(size_t shard) const {
    if (unfinished_.size() == 1) return kSingleFile;
    return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, unfinished_.size());
  }

  absl::Status RenameShard(size_t shard) {
    const std::filesystem::path target = folder_ / FinalName(shard);
    if (std::rename(unfinished_[shard].c_str(), target.c_str()) != 0) return ErrnoStatus(errno, "rename to", target);
    unfinished_[shard] = target;
    return absl::OkStatus();
  }

  std::string IndexText() const {
    nlohmann::ordered_json index;
    index["metadata"]["total_size"] = total_bytes_;
    for (const auto& [name, shard] : shard_of_) index["weight_map"][name] = FinalName(shard);
    return index.dump(2) + "\n";
  }

  std::filesystem::path folder_;
  uint64_t max_shard_bytes_;
  std::map<std::string, std::string> metadata_;
  std::vector<NamedTensor> shard_;
  uint64_t shard_bytes_ = 0;
  uint64_t total_bytes_ = 0;
  std::set<std::string> names_;
  std::map<std::string, size_t> shard_of_;
  std::vector<std::filesystem::path> unfinished_;
};

}  // namespace

TensorGenerator GenerateFrom(std::vector<NamedTensor> tensors) {
  auto next = std::make_shared<size_t>(0);
  return [tensors = std::move(tensors), next]() -> absl::StatusOr<std::optional<NamedTensor>> {
    if (*next == tensors.size()) return std::nullopt;
    return tensors[(*next)++];
  };
}

absl::StatusOr<WrittenCheckpoint> WriteCheckpoint(const std::filesystem::path& folder, const TensorGenerator& next,
                                                  uint64_t max_shard_bytes,
                                                  const std::map<std::string, std::string>& metadata) {
  REGROUP_RETURN_IF_ERROR(CheckHasNoWeights(folder));
  ShardWriter writer(folder, max_shard_bytes, metadata);
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(std::optional<NamedTensor> tensor, next());
    if (!tensor) return writer.Finish();
    REGROUP_RETURN_IF_ERROR(writer.Add(*std::move(tensor)));
  }
}

}  // namespace regroup
