#include "trainer/stages/training_checkpoint.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "services/base/files.h"
#include "services/base/logging.h"
#include "services/base/status_macros.h"
#include "trainer/data/file_digest.h"
#include "trainer/stages/checkpoint_manifest.h"
#include "trainer/stages/tensor_file.h"

namespace regroup {
namespace {

constexpr size_t kKept = 2;
constexpr int64_t kDigestLength = 64;

/// The digests of all ranks' files, in order of rank.
absl::StatusOr<std::vector<std::string>> GatherDigests(const std::string& own, Communicator& communicator) {
  at::Tensor mine = at::empty({kDigestLength}, at::kByte);
  std::copy(own.begin(), own.end(), static_cast<char*>(mine.mutable_data_ptr()));
  at::Tensor all = at::empty({kDigestLength * communicator.size()}, at::kByte);
  REGROUP_RETURN_IF_ERROR(communicator.AllGather(mine, all));
  std::vector<std::string> digests;
  const char* text = static_cast<const char*>(all.const_data_ptr());
  for (int rank = 0; rank < communicator.size(); ++rank)
    digests.emplace_back(text + rank * kDigestLength, kDigestLength);
  return digests;
}

absl::Status WriteManifest(const std::filesystem::path& folder, int64_t step, const std::vector<std::string>& digests) {
  CheckpointManifest manifest{.step = step};
  const auto ranks = static_cast<int64_t>(digests.size());
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const std::string name = RankFileName(rank, ranks);
    manifest.files.push_back({name, std::filesystem::file_size(folder / name), digests[rank]});
  }
  return WriteFileAtomically(folder / "manifest.json", FormatCheckpointManifest(manifest));
}

std::vector<std::filesystem::path> StepFolders(const std::filesystem::path& checkpoints) {
  std::vector<std::filesystem::path> folders;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints, error)) {
    if (entry.path().filename().string().starts_with("step-")) folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

/// Not valid, or a file is not there in its whole size: nullopt.
std::optional<CheckpointManifest> ReadManifest(const std::filesystem::path& folder) {
  const auto text = ReadFile(folder / "manifest.json");
  if (!text.ok()) return std::nullopt;
  absl::StatusOr<CheckpointManifest> manifest = ParseCheckpointManifest(*text);
  if (!manifest.ok()) return std::nullopt;
  for (const CheckpointManifest::File& file : manifest->files) {
    std::error_code error;
    const auto size = std::filesystem::file_size(folder / file.name, error);
    if (error || size != file.bytes) return std::nullopt;
  }
  return *std::move(manifest);
}

void RemoveOld(const std::filesystem::path& checkpoints) {
  std::vector<std::filesystem::path> folders = StepFolders(checkpoints);
  while (folders.size() > kKept) {
    std::error_code error;
    // Without its manifest a half-removed folder does not exist.
    std::filesystem::remove(folders.front() / "manifest.json", error);
    std::filesystem::remove_all(folders.front(), error);
    folders.erase(folders.begin());
  }
}

}  // namespace

absl::Status SaveTrainingCheckpoint(const std::filesystem::path& checkpoints, int64_t step,
                                    const ShardedAdamW& optimizer, Communicator& communicator) {
  const std::filesystem::path folder = checkpoints / fmt::format("step-{:08}", step);
  REGROUP_RETURN_IF_ERROR(MakeFolders(folder));
  const std::filesystem::path file = folder / RankFileName(communicator.rank(), communicator.size());
  REGROUP_RETURN_IF_ERROR(SaveTensors(file, optimizer.ShardState()));
  REGROUP_ASSIGN_OR_RETURN(const std::string digest, FileDigest(file));
  REGROUP_ASSIGN_OR_RETURN(const std::vector<std::string> digests, GatherDigests(digest, communicator));
  if (communicator.rank() == 0) {
    REGROUP_RETURN_IF_ERROR(WriteManifest(folder, step, digests));
    RemoveOld(checkpoints);
  }
  return absl::OkStatus();
}

std::vector<TrainingCheckpoint> ListTrainingCheckpoints(const std::vector<std::filesystem::path>& folders) {
  std::vector<TrainingCheckpoint> found;
  for (size_t place = 0; place < folders.size(); ++place) {
    for (const std::filesystem::path& folder : StepFolders(folders[place])) {
      const auto manifest = ReadManifest(folder);
      if (!manifest.has_value()) continue;
      found.push_back(
          {folder, manifest->step, static_cast<int64_t>(manifest->files.size()), static_cast<int64_t>(place)});
    }
  }
  std::reverse(found.begin(), found.end());
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return found;
}

std::optional<TrainingCheckpoint> FindTrainingCheckpoint(const std::vector<std::filesystem::path>& folders) {
  for (const TrainingCheckpoint& checkpoint : ListTrainingCheckpoints(folders)) {
    const absl::Status intact = VerifyTrainingCheckpoint(checkpoint);
    if (intact.ok()) return checkpoint;
    LogWarning(fmt::format("a checkpoint is passed over: {}", std::string(intact.message())));
  }
  return std::nullopt;
}

absl::Status VerifyTrainingCheckpoint(const TrainingCheckpoint& checkpoint) {
  const auto manifest = ReadManifest(checkpoint.folder);
  if (!manifest.has_value()) {
    return absl::DataLossError(fmt::format("{}: the checkpoint's manifest is not valid", checkpoint.folder.string()));
  }
  for (const CheckpointManifest::File& file : manifest->files) {
    const std::filesystem::path path = checkpoint.folder / file.name;
    REGROUP_ASSIGN_OR_RETURN(const std::string digest, FileDigest(path));
    if (digest != file.sha256) {
      return absl::DataLossError(fmt::format("{}: content does not match the manifest", path.string()));
    }
  }
  return absl::OkStatus();
}

absl::Status LoadTrainingCheckpoint(const TrainingCheckpoint& checkpoint, ShardedAdamW& optimizer) {
  REGROUP_RETURN_IF_ERROR(VerifyTrainingCheckpoint(checkpoint));
  std::vector<TensorMap> shards;
  for (int64_t rank = 0; rank < checkpoint.ranks; ++rank) {
    REGROUP_ASSIGN_OR_RETURN(TensorMap tensors, LoadTensors(checkpoint.folder / RankFileName(rank, checkpoint.ranks)));
    shards.push_back(std::move(tensors));
  }
  const auto joined = [&](const std::string& name) {
    std::vector<at::Tensor> parts;
    for (const TensorMap& shard : shards) parts.push_back(shard.at(name));
    return at::cat(parts);
  };
  for (const std::string& group : optimizer.GroupNames()) {
    REGROUP_RETURN_IF_ERROR(optimizer.LoadState(group, joined(group + "/master"), joined(group + "/first_moment"),
                                                joined(group + "/second_moment"), shards.front().at(group + "/step")));
  }
  return absl::OkStatus();
}

}  // namespace regroup
