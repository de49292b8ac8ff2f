// Writes the weights of a Hugging Face folder, in several shards if they are large. Holds one shard in memory at a
// time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/safetensors_writer.h"

namespace regroup {

/// Returns the next tensor on each call, and nullopt after the last.
using TensorGenerator = std::function<absl::StatusOr<std::optional<NamedTensor>>()>;

/// Returns a generator over tensors that are already in memory.
TensorGenerator GenerateFrom(std::vector<NamedTensor> tensors);

inline constexpr uint64_t kDefaultMaxShardBytes = 5'000'000'000;

struct WrittenCheckpoint {
  /// Names within the folder: the safetensors files in order, then the index if there is one.
  std::vector<std::string> files;
  /// Total size of all tensors in bytes.
  uint64_t total_bytes = 0;
};

/// Writes model.safetensors, or model-00001-of-0000n.safetensors and model.safetensors.index.json if the tensors need
/// more than one shard of `max_shard_bytes` (a larger tensor gets a shard of its own). The folder must exist;
/// ALREADY_EXISTS if it already holds weights. Stops at the first error of the generator and removes unfinished files.
absl::StatusOr<WrittenCheckpoint> WriteCheckpoint(const std::filesystem::path& folder, const TensorGenerator& next,
                                                  uint64_t max_shard_bytes = kDefaultMaxShardBytes,
                                                  const std::map<std::string, std::string>& metadata = {
                                                      {"format", "pt"}});

}  // namespace regroup
