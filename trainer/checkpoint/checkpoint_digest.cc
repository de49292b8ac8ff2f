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
std::string Entry(const TensorInfo& info, const at::Tensor& tensor) {
  std::string entry(SafetensorsDtypeName(info.dtype));
  for (const int64_t size : info.shape) entry += fmt::format(" {}", size);
  const at::Tensor bytes = tensor.contiguous();
  return fmt::format("{}\n{}", entry, Sha256Of({static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()}));
}

}  // namespace

CheckpointDigests CheckpointFolder::Digests(int threads) const {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::vector<std::string> entries(stored_.size());
  ForEachIndex(entries.size(), static_cast<size_t>(threads > 0 ? threads : cores), [&](size_t i) {
    entries[i] = Entry(stored_[i].info, stored_[i].file->Tensor(stored_[i].name_in_file).value());
  });
  CheckpointDigests digests{.config = Sha256Of(config_text_)};
  for (size_t i = 0; i < stored_.size(); ++i) digests.tensors[stored_[i].info.name] = std::move(entries[i]);
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

absl::Status CheckpointFolder::CheckTensor(const Stored& stored, const at::Tensor& tensor) const {
  if (expected_ == nullptr) return absl::OkStatus();
  const std::string& name = stored.info.name;
  {
    const std::lock_guard lock(checking_);
    if (checked_.contains(name)) return absl::OkStatus();
  }
  REGROUP_RETURN_IF_ERROR(CompareTensor(stored, tensor));
  const std::lock_guard lock(checking_);
  checked_.emplace(name);
  return absl::OkStatus();
}

absl::Status CheckpointFolder::CompareTensor(const Stored& stored, const at::Tensor& tensor) const {
  const auto found = expected_->tensors.find(stored.info.name);
  if (found != expected_->tensors.end() && found->second == Entry(stored.info, tensor)) return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("{}: tensor \"{}\" changed after it was inspected", stored.file->path().string(), stored.info.name));
}

}  // namespace regroup
