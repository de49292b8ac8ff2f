// CheckpointFolder::Digest: hashes each tensor, on several threads, and then hashes the list of those digests.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "services/common/base/sha256.h"
#include "trainer/checkpoint/checkpoint_folder.h"

namespace regroup {
namespace {

/// Returns the digests of the pieces, in their order.
std::vector<std::string> DigestEach(const std::vector<std::string_view>& pieces, int threads) {
  std::vector<std::string> digests(pieces.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < pieces.size(); i = next++) digests[i] = Sha256Of(pieces[i]);
  };
  std::vector<std::jthread> helpers;
  for (int i = 1; i < threads; ++i) helpers.emplace_back(work);
  work();
  helpers.clear();
  return digests;
}

}  // namespace

absl::StatusOr<std::string> CheckpointFolder::Digest(int threads) const {
  std::vector<std::string_view> pieces;
  for (const TensorInfo& tensor : tensors_) {
    pieces.push_back(files_[file_by_name_.find(tensor.name)->second]->Bytes(tensor.name).value());
  }
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const std::vector<std::string> digests = DigestEach(pieces, threads > 0 ? threads : cores);
  Sha256 whole;
  whole.Update(fmt::format("regroup checkpoint 1\n{}\n", Sha256Of(config_text_)));
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const TensorInfo& tensor = tensors_[i];
    whole.Update(fmt::format("{}\n{}\n{}", tensor.name.size(), tensor.name, SafetensorsDtypeName(tensor.dtype)));
    for (const int64_t size : tensor.shape) whole.Update(fmt::format(" {}", size));
    whole.Update(fmt::format("\n{}\n", digests[i]));
  }
  return whole.Finish();
}

}  // namespace regroup
