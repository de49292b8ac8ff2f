// Writes checkpoints of a training while it continues.
//
// Begin copies this rank's state, and a separate thread writes the copy to the rank's file. Communicators belong to the
// computing thread, so the ranks agree in Continue, once per step, whether every file is complete; then a thread of
// rank 0 writes the manifest. A process that dies in between leaves no valid checkpoint. One save is in progress at a
// time.
//
// Only the computing thread may call it; all ranks make the same calls.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <future>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/training/training_checkpoint.h"

namespace regroup {

class CheckpointSaver {
 public:
  struct Saved {
    int64_t step = 0;
    /// Time to write the slowest rank's file and the manifest.
    double seconds = 0;
  };

  /// `communicator` must outlive it.
  CheckpointSaver(std::filesystem::path checkpoints, Communicator& communicator);
  /// Waits for this rank's writer. A save that the ranks have not agreed on remains without a manifest.
  ~CheckpointSaver() = default;

  /// Copies the state after `step` steps and starts to write it. No other save may be in progress. `more` are tensors
  /// that are not the optimizer's, the same on every rank, always of the same names and shapes; see
  /// LoadCheckpointTensor.
  void Begin(int64_t step, const ShardedAdamW& optimizer, const std::vector<NamedTensor>& more = {});

  /// Returns the save that has just completed, if any; never waits for a disk. While files are being written it makes a
  /// collective call. The error of a failed writer, RESOURCE_EXHAUSTED for a full disk, is returned on the rank where
  /// it occurred.
  absl::StatusOr<std::optional<Saved>> Continue();

  /// Waits for the save in progress and returns it, if there is one. When rank 0 returns, the manifest is written.
  absl::StatusOr<std::optional<Saved>> Finish();

  /// Returns the step of the save in which this rank still takes part.
  std::optional<int64_t> step() const;

 private:
  enum class Phase { kIdle, kWriting, kPublishing };
  using Publication = absl::StatusOr<Saved>;

  void CopyState(const std::vector<NamedTensor>& state);
  absl::StatusOr<RankFileEntry> OwnEntry();
  void Publish(std::vector<RankFileEntry> files);
  absl::StatusOr<std::optional<Saved>> Agree();
  absl::StatusOr<std::optional<Saved>> TakePublication();

  const std::filesystem::path checkpoints_;
  Communicator& communicator_;
  Phase phase_ = Phase::kIdle;
  int64_t step_ = 0;
  /// Reused from save to save. Pinned if the state is on a GPU. The writer reads it, so it is declared before the
  /// futures, whose destructors wait.
  std::vector<NamedTensor> staged_;
  RankFileEntry own_;
  std::future<absl::StatusOr<RankFileEntry>> writer_;
  std::future<Publication> publisher_;
};

}  // namespace regroup
