// Checkpoints of a training: one file of optimizer state per rank and a manifest that makes them valid.
//
//   <attempt>/checkpoints/step-00000200/rank-00000-of-00002.safetensors ... manifest.json
//
// The manifest is written last, with every file's size and SHA-256; a folder without a valid one does not exist. State
// is kept without padding, so that a run may continue with another number of ranks. All ranks call together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/optim/sharded_adamw.h"
#include "trainer/parallel/communicator.h"

namespace regroup {

struct TrainingCheckpoint {
  std::filesystem::path folder;
  /// Steps that are done.
  int64_t step = 0;
  int64_t ranks = 0;
  /// Place of its parent in the list of folders that were searched.
  int64_t found_in = 0;
};

/// Writes the state after `step` steps and removes all but the last two checkpoints of `checkpoints`.
absl::Status SaveTrainingCheckpoint(const std::filesystem::path& checkpoints, int64_t step,
                                    const ShardedAdamW& optimizer, Communicator& communicator);

/// Every checkpoint below the folders that has a valid manifest and files of the right sizes, most steps first; of
/// equal steps, the one in the later folder first.
std::vector<TrainingCheckpoint> ListTrainingCheckpoints(const std::vector<std::filesystem::path>& folders);

/// The first of ListTrainingCheckpoints whose contents are as the manifest says; damaged ones are logged.
std::optional<TrainingCheckpoint> FindTrainingCheckpoint(const std::vector<std::filesystem::path>& folders);

/// Reads every file. DATA_LOSS names a damaged one.
absl::Status VerifyTrainingCheckpoint(const TrainingCheckpoint& checkpoint);

/// Restores the optimizer and, through it, the weights. DATA_LOSS names a damaged file.
absl::Status LoadTrainingCheckpoint(const TrainingCheckpoint& checkpoint, ShardedAdamW& optimizer);

}  // namespace regroup
