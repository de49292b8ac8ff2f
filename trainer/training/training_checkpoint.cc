#include "trainer/training/training_checkpoint.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <type_traits>

#include "services/common/base/file_digest.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"
#include "trainer/model_folder/tensor_file.h"
#include "trainer/training/checkpoint_manifest.h"

namespace regroup {
namespace {

constexpr size_t kKept = 2;
constexpr int64_t kDigestLength = 64;

/// An entry as it is sent between ranks; the digest is empty or has its full length.
struct EntryBytes {
  int64_t bytes = 0;
  double seconds_to_write = 0;
  char sha256[kDigestLength] = {};
};
static_assert(std::is_trivially_copyable_v<EntryBytes>);

EntryBytes Pack(const RankFileEntry& entry) {
  EntryBytes packed{.bytes = entry.bytes, .seconds_to_write = entry.seconds_to_write};
  std::copy(entry.sha256.begin(), entry.sha256.end(), packed.sha256);
  return packed;
}

RankFileEntry Unpack(const EntryBytes& packed) {
  RankFileEntry entry{.bytes = packed.bytes, .seconds_to_write = packed.seconds_to_write};
  if (packed.sha256[0] != 0) entry.sha256.assign(packed.sha256, kDigestLength);
  return entry;
}

absl::Status WriteManifest(const std::filesystem::path& folder, int64_t step, const std::vector<RankFileEntry>& files) {
  CheckpointManifest manifest{.step = step};
  const auto ranks = static_cast<int64_t>(files.size());
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const RankFileEntry& file = files[static_cast<size_t>(rank)];
    manifest.files.push_back({RankFileName(rank, ranks), static_cast<uint64_t>(file.bytes), file.sha256});
  }
  return WriteFileAtomically(folder / "manifest.json", FormatCheckpointManifest(manifest));
}

std::vector<std::filesystem::path> StepFolders(const std::filesystem::path& checkpoints) {
  std::vector<std::filesystem::path> folders = EntriesOf(checkpoints).value_or(std::vector<std::filesystem::path>());
  std::erase_if(folders, [](const auto& folder) { return !folder.filename().string().starts_with("step-"); });
  return folders;
}

/// Returns nullopt if the manifest is not valid, or if a file is missing or has the wrong size.
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

/// Removes a checkpoint. The manifest goes first: without it a half-removed folder does not count as a checkpoint.
void RemoveCheckpoint(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::remove(folder / "manifest.json", error);
  std::filesystem::remove_all(folder, error);
}

/// Keeps the last two checkpoints up to `newest`; later ones are still being written.
void RemoveOld(const std::filesystem::path& checkpoints, const std::filesystem::path& newest) {
  std::vector<std::filesystem::path> folders = StepFolders(checkpoints);
  std::erase_if(folders, [&](const std::filesystem::path& folder) { return folder > newest; });
  while (folders.size() > kKept) {
    RemoveCheckpoint(folders.front());
    folders.erase(folders.begin());
  }
}

/// Returns the checkpoint that rank 0 has listed.
std::optional<TrainingCheckpoint> SameCheckpoint(const std::vector<std::filesystem::path>& folders, int64_t step,
                                                 int64_t found_in) {
  for (const TrainingCheckpoint& checkpoint : ListTrainingCheckpoints(folders)) {
    if (checkpoint.step == step && checkpoint.found_in == found_in) return checkpoint;
  }
  return std::nullopt;
}

/// Compares this rank's share of the files, every `size`-th one, with the manifest. DATA_LOSS names a corrupt one.
absl::Status VerifyShare(const TrainingCheckpoint& checkpoint, const Communicator& communicator,
                         const std::function<void()>& tick) {
  const auto manifest = ReadManifest(checkpoint.folder);
  if (!manifest.has_value()) {
    return absl::DataLossError(fmt::format("{}: the checkpoint's manifest is not valid", checkpoint.folder.string()));
  }
  for (size_t file = static_cast<size_t>(communicator.rank()); file < manifest->files.size();
       file += static_cast<size_t>(communicator.size())) {
    const std::filesystem::path path = checkpoint.folder / manifest->files[file].name;
    REGROUP_ASSIGN_OR_RETURN(const std::string digest, FileDigest(path, tick));
    if (digest != manifest->files[file].sha256) {
      return absl::DataLossError(fmt::format("{}: content does not match the manifest", path.string()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::filesystem::path TrainingCheckpointFolder(const std::filesystem::path& checkpoints, int64_t step) {
  return checkpoints / fmt::format("step-{:08}", step);
}

absl::StatusOr<RankFileEntry> WriteRankFile(const std::filesystem::path& folder, int64_t rank, int64_t ranks,
                                            const std::vector<NamedTensor>& state) {
  const auto start = std::chrono::steady_clock::now();
  REGROUP_RETURN_IF_ERROR(MakeFolders(folder));
  const std::filesystem::path file = folder / RankFileName(rank, ranks);
  REGROUP_RETURN_IF_ERROR(SaveTensors(file, state));
  RankFileEntry entry;
  REGROUP_ASSIGN_OR_RETURN(entry.sha256, FileDigest(file));
  std::error_code error;
  entry.bytes = static_cast<int64_t>(std::filesystem::file_size(file, error));
  if (error) return ErrnoStatus(error.value(), "read the size of", file);
  entry.seconds_to_write = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return entry;
}

absl::StatusOr<std::vector<RankFileEntry>> GatherEntries(const RankFileEntry& own, Communicator& communicator) {
  constexpr int64_t kBytes = sizeof(EntryBytes);
  at::Tensor mine = at::empty({kBytes}, at::kByte);
  const EntryBytes packed = Pack(own);
  std::memcpy(mine.mutable_data_ptr(), &packed, kBytes);
  at::Tensor all = at::empty({kBytes * communicator.size()}, at::kByte);
  REGROUP_RETURN_IF_ERROR(communicator.AllGather(mine, all));
  std::vector<RankFileEntry> entries;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    EntryBytes received;
    std::memcpy(&received, static_cast<const char*>(all.const_data_ptr()) + rank * kBytes, kBytes);
    entries.push_back(Unpack(received));
  }
  return entries;
}

absl::Status PublishTrainingCheckpoint(const std::filesystem::path& checkpoints, int64_t step,
                                       const std::vector<RankFileEntry>& files) {
  const std::filesystem::path folder = TrainingCheckpointFolder(checkpoints, step);
  REGROUP_RETURN_IF_ERROR(WriteManifest(folder, step, files));
  RemoveOld(checkpoints, folder);
  return absl::OkStatus();
}

absl::Status SaveTrainingCheckpoint(const std::filesystem::path& checkpoints, int64_t step,
                                    const ShardedAdamW& optimizer, Communicator& communicator) {
  REGROUP_ASSIGN_OR_RETURN(const RankFileEntry own,
                           WriteRankFile(TrainingCheckpointFolder(checkpoints, step), communicator.rank(),
                                         communicator.size(), optimizer.ShardState()));
  REGROUP_ASSIGN_OR_RETURN(const std::vector<RankFileEntry> files, GatherEntries(own, communicator));
  return communicator.rank() == 0 ? PublishTrainingCheckpoint(checkpoints, step, files) : absl::OkStatus();
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

absl::StatusOr<std::optional<TrainingCheckpoint>> FindTrainingCheckpoint(
    const std::vector<std::filesystem::path>& folders, Communicator& communicator, const std::function<void()>& tick) {
  std::vector<TrainingCheckpoint> candidates;
  if (communicator.rank() == 0) candidates = ListTrainingCheckpoints(folders);
  for (size_t place = 0;; ++place) {
    at::Tensor choice = at::full({2}, -1, at::kLong);
    if (place < candidates.size()) {
      choice[0] = candidates[place].step;
      choice[1] = candidates[place].found_in;
    }
    REGROUP_RETURN_IF_ERROR(communicator.Broadcast(choice, 0));
    const int64_t step = choice[0].item<int64_t>();
    if (step < 0) return std::nullopt;
    const std::optional<TrainingCheckpoint> candidate =
        communicator.rank() == 0 ? candidates[place] : SameCheckpoint(folders, step, choice[1].item<int64_t>());
    if (!candidate.has_value()) {
      return absl::UnavailableError(
          fmt::format("rank {} does not see the checkpoint of step {}", communicator.rank(), step));
    }
    const absl::Status intact = VerifyShare(*candidate, communicator, tick);
    if (!intact.ok()) LogWarning(fmt::format("skipping a corrupt checkpoint: {}", std::string(intact.message())));
    at::Tensor corrupt = at::full({1}, intact.ok() ? 0 : 1, at::kLong);
    REGROUP_RETURN_IF_ERROR(communicator.AllReduceSum(corrupt));
    if (corrupt.item<int64_t>() == 0) return candidate;
  }
}

void RemoveSuperseded(const std::vector<std::filesystem::path>& folders, const TrainingCheckpoint& found) {
  const std::vector<TrainingCheckpoint> all = ListTrainingCheckpoints(folders);
  const auto used = std::find_if(
      all.begin(), all.end(), [&](const TrainingCheckpoint& checkpoint) { return checkpoint.folder == found.folder; });
  size_t kept = 0;
  for (auto checkpoint = used; checkpoint != all.end(); ++checkpoint) {
    if (++kept > kKept) RemoveCheckpoint(checkpoint->folder);
  }
  for (size_t earlier = 0; earlier + 1 < folders.size(); ++earlier) {
    for (const std::filesystem::path& folder : StepFolders(folders[earlier])) {
      if (!ReadManifest(folder).has_value()) RemoveCheckpoint(folder);
    }
  }
}

absl::Status LoadTrainingCheckpoint(const TrainingCheckpoint& checkpoint, ShardedAdamW& optimizer) {
  std::vector<TensorMap> shards;
  for (int64_t rank = 0; rank < checkpoint.ranks; ++rank) {
    REGROUP_ASSIGN_OR_RETURN(TensorMap tensors, LoadTensors(checkpoint.folder / RankFileName(rank, checkpoint.ranks)));
    shards.push_back(std::move(tensors));
  }
  // Bucket by bucket, each rank's piece after that of the rank before: see ShardedAdamW::ShardState.
  const auto pieces_of = [&](const std::string& group, const char* part) {
    std::vector<at::Tensor> pieces;
    for (int64_t bucket = 0;; ++bucket) {
      const std::string name = fmt::format("{}/{}/{}", group, bucket, part);
      if (!shards.front().contains(name)) return pieces;
      for (const TensorMap& shard : shards) pieces.push_back(shard.at(name));
    }
  };
  for (const std::string& group : optimizer.GroupNames()) {
    const auto step = shards.front().find(group + "/step");
    if (step == shards.front().end()) {
      return absl::DataLossError(fmt::format("{}: has no state of the group '{}'", checkpoint.folder.string(), group));
    }
    REGROUP_RETURN_IF_ERROR(optimizer.LoadState(group, {.master = pieces_of(group, "master"),
                                                        .first_moment = pieces_of(group, "first_moment"),
                                                        .second_moment = pieces_of(group, "second_moment"),
                                                        .step = step->second}));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<at::Tensor>> LoadCheckpointTensor(const TrainingCheckpoint& checkpoint,
                                                               const std::string& name) {
  // Every rank's file has it.
  REGROUP_ASSIGN_OR_RETURN(const TensorMap tensors, LoadTensors(checkpoint.folder / RankFileName(0, checkpoint.ranks)));
  const auto found = tensors.find(name);
  return found == tensors.end() ? std::nullopt : std::make_optional(found->second);
}

}  // namespace regroup
