// Stores checkpoints of a training: one file of optimizer state per rank, and a manifest that makes them valid.
//
//   <attempt>/checkpoints/step-00000200/rank-00000-of-00002.safetensors ... manifest.json
//
// The manifest is written last, with every file's size and SHA-256; a folder without a valid manifest does not count as
// a checkpoint. State is stored without padding, so that a run can continue with another number of ranks.
// CheckpointSaver writes checkpoints while training continues.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/safetensors_writer.h"
#include "trainer/optim/sharded_adamw.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

struct TrainingCheckpoint {
  std::filesystem::path folder;
  /// Number of completed steps.
  int64_t step = 0;
  int64_t ranks = 0;
  /// Index of its parent in the list of folders that were searched.
  int64_t found_in = 0;
};

/// One rank's file. Without a digest it is not complete yet.
struct RankFileEntry {
  int64_t bytes = 0;
  double seconds_to_write = 0;
  std::string sha256;
};

/// Returns the folder of the checkpoint after `step` steps.
std::filesystem::path TrainingCheckpointFolder(const std::filesystem::path& checkpoints, int64_t step);

/// Writes one rank's file atomically: it appears complete or not at all. Any thread.
absl::StatusOr<RankFileEntry> WriteRankFile(const std::filesystem::path& folder, int64_t rank, int64_t ranks,
                                            const std::vector<NamedTensor>& state);

/// Writes the manifest once every rank's file exists, then removes all but the last two checkpoints up to `step`.
/// Called only by rank 0; any thread.
absl::Status PublishTrainingCheckpoint(const std::filesystem::path& checkpoints, int64_t step,
                                       const std::vector<RankFileEntry>& files);

/// Returns the entries of all ranks in rank order. All ranks must call it together.
absl::StatusOr<std::vector<RankFileEntry>> GatherEntries(const RankFileEntry& own, Communicator& communicator);

/// Writes the state after `step` steps; returns when it is written. All ranks must call it together.
absl::Status SaveTrainingCheckpoint(const std::filesystem::path& checkpoints, int64_t step,
                                    const ShardedAdamW& optimizer, Communicator& communicator);

/// Returns every checkpoint below the folders that has a valid manifest and files of the right sizes, most steps first;
/// for equal steps, the one in the later folder first.
std::vector<TrainingCheckpoint> ListTrainingCheckpoints(const std::vector<std::filesystem::path>& folders);

/// Returns the first of rank 0's ListTrainingCheckpoints whose contents match the manifest; corrupt ones are logged.
/// All ranks must call it together: each reads its share of the files, and all get the same checkpoint. UNAVAILABLE if
/// this rank does not see it, since ranks may see changes of a shared file system at different times. `tick` is called
/// while files are read.
absl::StatusOr<std::optional<TrainingCheckpoint>> FindTrainingCheckpoint(
    const std::vector<std::filesystem::path>& folders, Communicator& communicator,
    const std::function<void()>& tick = [] {});

/// Removes what earlier attempts left and is not needed after `found`: all checkpoints with fewer steps but one, and
/// folders that have no valid manifest. The last of the folders is the attempt's own and is left alone. Called only by
/// rank 0, when no earlier attempt runs.
void RemoveSuperseded(const std::vector<std::filesystem::path>& folders, const TrainingCheckpoint& found);

/// Restores the optimizer and, through it, the weights, from a checkpoint that was found. A rank reads its own slice of
/// the state. DATA_LOSS names a state that is of another model.
absl::Status LoadTrainingCheckpoint(const TrainingCheckpoint& checkpoint, ShardedAdamW& optimizer);

/// Returns a tensor that was saved beside the optimizer's state; nullopt if the checkpoint has none of that name.
absl::StatusOr<std::optional<at::Tensor>> LoadCheckpointTensor(const TrainingCheckpoint& checkpoint,
                                                               const std::string& name);

}  // namespace regroup
