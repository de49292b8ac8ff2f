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

int64_t AlignedBytes(const at::Tensor& tensor) {
  constexpr int64_t kAlignment = 64;
  return (static_cast<int64_t>(tensor.nbytes()) + kAlignment - 1) / kAlignment * kAlignment;
}

/// Returns tensors of the same names, types and shapes on the CPU, in one block: CUDA's allocator of pinned memory
/// rounds every block up to a power of two.
std::vector<NamedTensor> StagedLike(const std::vector<NamedTensor>& state) {
  int64_t bytes = 0;
  for (const auto& [name, live] : state) bytes += AlignedBytes(live);
  const bool pinned = !state.empty() && state.front().second.is_cuda();
  const at::Tensor block = at::empty({bytes}, at::TensorOptions(at::kByte).pinned_memory(pinned));
  std::vector<NamedTensor> staged;
  int64_t begin = 0;
  for (const auto& [name, live] : state) {
    const at::Tensor place = block.narrow(0, begin, static_cast<int64_t>(live.nbytes()));
    staged.emplace_back(name, place.view(live.scalar_type()).view(live.sizes()));
    begin += AlignedBytes(live);
  }
  return staged;
}

}  // namespace

CheckpointSaver::CheckpointSaver(std::filesystem::path checkpoints, Communicator& communicator)
    : checkpoints_(std::move(checkpoints)), communicator_(communicator) {}

void CheckpointSaver::CopyState(const std::vector<NamedTensor>& state) {
  if (staged_.empty()) staged_ = StagedLike(state);
  for (size_t i = 0; i < state.size(); ++i) staged_[i].second.copy_(state[i].second);
}

void CheckpointSaver::Begin(int64_t step, const ShardedAdamW& optimizer, const std::vector<NamedTensor>& more) {
  std::vector<NamedTensor> state = optimizer.ShardState();
  state.insert(state.end(), more.begin(), more.end());
  CopyState(state);
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
