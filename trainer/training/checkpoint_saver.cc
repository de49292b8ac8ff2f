#include "trainer/training/checkpoint_saver.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

template <typename Result>
bool IsReady(const std::future<Result>& future) {
  return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

absl::StatusOr<CheckpointSaver::Saved> PublishTimed(const std::filesystem::path& checkpoints, int64_t step,
                                                    const std::vector<RankFileEntry>& files) {
  const auto start = std::chrono::steady_clock::now();
  REGROUP_RETURN_IF_ERROR(PublishTrainingCheckpoint(checkpoints, step, files));
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  double slowest = 0;
  for (const RankFileEntry& file : files) slowest = std::max(slowest, file.seconds_to_write);
  return CheckpointSaver::Saved{step, slowest + elapsed.count()};
}

}  // namespace

CheckpointSaver::CheckpointSaver(std::filesystem::path checkpoints, Communicator& communicator)
    : checkpoints_(std::move(checkpoints)), communicator_(communicator) {}

void CheckpointSaver::CopyState(const ShardedAdamW& optimizer) {
  const std::vector<NamedTensor> state = optimizer.ShardState();
  const bool first = staged_.empty();
  for (size_t i = 0; i < state.size(); ++i) {
    const auto& [name, live] = state[i];
    const at::TensorOptions host = live.options().device(at::kCPU).pinned_memory(live.is_cuda());
    if (first) staged_.emplace_back(name, at::empty(live.sizes(), host));
    staged_[i].second.copy_(live);
  }
}

void CheckpointSaver::Begin(int64_t step, const ShardedAdamW& optimizer) {
  CopyState(optimizer);
  step_ = step;
  own_ = {};
  phase_ = Phase::kWriting;
  writer_ = std::async(std::launch::async,
                       [this, folder = TrainingCheckpointFolder(checkpoints_, step), rank = communicator_.rank(),
                        ranks = communicator_.size()] { return WriteRankFile(folder, rank, ranks, staged_); });
}

absl::StatusOr<RankFileEntry> CheckpointSaver::OwnEntry() {
  if (writer_.valid() && IsReady(writer_)) {
    REGROUP_ASSIGN_OR_RETURN(own_, writer_.get());
  }
  return own_;
}

absl::StatusOr<std::optional<CheckpointSaver::Saved>> CheckpointSaver::Agree() {
  REGROUP_ASSIGN_OR_RETURN(const RankFileEntry own, OwnEntry());
  REGROUP_ASSIGN_OR_RETURN(std::vector<RankFileEntry> files, GatherEntries(own, communicator_));
  const bool complete =
      std::all_of(files.begin(), files.end(), [](const RankFileEntry& file) { return !file.sha256.empty(); });
  if (!complete) return std::nullopt;
  if (communicator_.rank() == 0) {
    Publish(std::move(files));
    return std::nullopt;
  }
  phase_ = Phase::kIdle;
  return Saved{step_, own.seconds_to_write};
}

void CheckpointSaver::Publish(std::vector<RankFileEntry> files) {
  phase_ = Phase::kPublishing;
  publisher_ = std::async(std::launch::async, [checkpoints = checkpoints_, step = step_, files = std::move(files)] {
    return PublishTimed(checkpoints, step, files);
  });
}

absl::StatusOr<std::optional<CheckpointSaver::Saved>> CheckpointSaver::TakePublication() {
  phase_ = Phase::kIdle;
  REGROUP_ASSIGN_OR_RETURN(const Saved saved, publisher_.get());
  return saved;
}

absl::StatusOr<std::optional<CheckpointSaver::Saved>> CheckpointSaver::Continue() {
  if (phase_ == Phase::kWriting) return Agree();
  if (phase_ == Phase::kPublishing && IsReady(publisher_)) return TakePublication();
  return std::nullopt;
}

absl::StatusOr<std::optional<CheckpointSaver::Saved>> CheckpointSaver::Finish() {
  std::optional<Saved> saved;
  if (phase_ == Phase::kWriting) {
    if (writer_.valid()) writer_.wait();
    REGROUP_ASSIGN_OR_RETURN(saved, Agree());
  }
  if (phase_ == Phase::kPublishing) return TakePublication();
  return saved;
}

std::optional<int64_t> CheckpointSaver::step() const {
  return phase_ == Phase::kIdle ? std::nullopt : std::optional(step_);
}

}  // namespace regroup
