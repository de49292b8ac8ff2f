// The digests of CheckpointFolder: hashes each tensor, on several threads, and then hashes the list of those digests;
// compares a tensor with the digest that it had before.
#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "services/common/base/for_each_index.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/checkpoint_folder.h"

namespace regroup {
namespace {

/// Returns the entry of CheckpointDigests::tensors.
std::string Entry(const TensorInfo& tensor, const std::string& sha256) {
  std::string entry(SafetensorsDtypeName(tensor.dtype));
  for (const int64_t size : tensor.shape) entry += fmt::format(" {}", size);
  return fmt::format("{}\n{}", entry, sha256);
}

/// Returns the digests of the pieces, in their order.
std::vector<std::string> DigestEach(const std::vector<std::string_view>& pieces, int threads) {
  std::vector<std::string> digests(pieces.size());
  ForEachIndex(pieces.size(), static_cast<size_t>(threads), [&](size_t i) { digests[i] = Sha256Of(pieces[i]); });
  return digests;
}

}  // namespace

CheckpointDigests CheckpointFolder::Digests(int threads) const {
  std::vector<std::string_view> pieces;
  for (const TensorInfo& tensor : tensors_) pieces.push_back(FileOf(tensor.name).Bytes(tensor.name).value());
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const std::vector<std::string> each = DigestEach(pieces, threads > 0 ? threads : cores);
  CheckpointDigests digests{.config = Sha256Of(config_text_)};
  for (size_t i = 0; i < tensors_.size(); ++i) digests.tensors[tensors_[i].name] = Entry(tensors_[i], each[i]);
  return digests;
}

std::string DigestOf(const CheckpointDigests& digests) {
  Sha256 whole;
  whole.Update(fmt::format("regroup checkpoint 1\n{}\n", digests.config));
  for (const auto& [name, entry] : digests.tensors) whole.Update(fmt::format("{}\n{}\n{}\n", name.size(), name, entry));
  return whole.Finish();
}

absl::Status CheckpointFolder::CheckConfig() const {
  if (expected_ == nullptr || Sha256Of(config_text_) == expected_->config) return absl::OkStatus();
  return absl::DataLossError(fmt::format("{} changed after it was inspected", (path_ / "config.json").string()));
}

absl::Status CheckpointFolder::CheckTensor(std::string_view name) const {
  if (expected_ == nullptr) return absl::OkStatus();
  {
    const std::lock_guard lock(checking_);
    if (checked_.contains(name)) return absl::OkStatus();
  }
  REGROUP_ASSIGN_OR_RETURN(const std::string_view bytes, FileOf(name).Bytes(name));
  REGROUP_RETURN_IF_ERROR(CheckBytes(name, bytes));
  const std::lock_guard lock(checking_);
  checked_.emplace(name);
  return absl::OkStatus();
}

absl::Status CheckpointFolder::CheckBytes(std::string_view name, std::string_view bytes) const {
  const auto found = expected_->tensors.find(name);
  if (found != expected_->tensors.end() && found->second == Entry(*Find(name), Sha256Of(bytes))) {
    return absl::OkStatus();
  }
  return absl::DataLossError(
      fmt::format("{}: tensor \"{}\" changed after it was inspected", FileOf(name).path().string(), name));
}

absl::StatusOr<at::Tensor> CheckpointFolder::CheckedCopy(std::string_view name) const {
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor view, FileOf(name).Tensor(name));
  at::Tensor copy = view.clone();
  REGROUP_RETURN_IF_ERROR(CheckBytes(name, {static_cast<const char*>(copy.const_data_ptr()), copy.nbytes()}));
  return copy;
}

}  // namespace regroup
