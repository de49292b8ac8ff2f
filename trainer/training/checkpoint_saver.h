// Writes checkpoints of a training while it goes on.
//
// Begin copies this rank's state and a thread of its own writes the copy to the rank's file. Communicators belong to
// the computing thread, so the ranks agree in Continue, once a step, on whether every file is complete; then a thread
// of rank 0 writes the manifest. A process that dies in between leaves nothing that counts as a checkpoint. One save
// is under way at a time.
//
// One thread may call it, the one that computes; all ranks make the same calls.
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
    /// What writing took: the slowest rank's file and the manifest.
    double seconds = 0;
  };

  /// `communicator` must outlive it.
  CheckpointSaver(std::filesystem::path checkpoints, Communicator& communicator);
  /// Waits for this rank's writer. A save that the ranks have not agreed on stays without a manifest.
  ~CheckpointSaver() = default;

  /// Copies the state after `step` steps and starts to write it. No other save may be under way.
  void Begin(int64_t step, const ShardedAdamW& optimizer);

  /// The save that has just been completed, if any; never waits for a disk. A collective call while files are being
  /// written. A failed writer's error, RESOURCE_EXHAUSTED for a full disk, comes on the rank that it hit.
  absl::StatusOr<std::optional<Saved>> Continue();

  /// Waits for the save under way, if any, which it returns. The manifest is there when rank 0 returns.
  absl::StatusOr<std::optional<Saved>> Finish();

  /// The step whose save this rank still takes part in.
  std::optional<int64_t> step() const;

 private:
  enum class Phase { kIdle, kWriting, kPublishing };
  using Publication = absl::StatusOr<Saved>;

  void CopyState(const ShardedAdamW& optimizer);
  absl::StatusOr<RankFileEntry> OwnEntry();
  void Publish(std::vector<RankFileEntry> files);
  absl::StatusOr<std::optional<Saved>> Agree();
  absl::StatusOr<std::optional<Saved>> TakePublication();

  const std::filesystem::path checkpoints_;
  Communicator& communicator_;
  Phase phase_ = Phase::kIdle;
  int64_t step_ = 0;
  /// Kept from save to save. Pinned where the state is on a GPU. The writer reads it: declared before the futures,
  /// whose destructors wait.
  std::vector<NamedTensor> staged_;
  RankFileEntry own_;
  std::future<absl::StatusOr<RankFileEntry>> writer_;
  std::future<Publication> publisher_;
};

}  // namespace regroup
