// Writes the weights of a Hugging Face folder, in shards where they are large, holding one shard in memory at a time.
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

/// Gives the next tensor each time it is called, and nothing after the last.
using TensorGenerator = std::function<absl::StatusOr<std::optional<NamedTensor>>()>;

/// A generator over tensors that are at hand already.
TensorGenerator GenerateFrom(std::vector<NamedTensor> tensors);

inline constexpr uint64_t kDefaultMaxShardBytes = 5'000'000'000;

struct WrittenCheckpoint {
  /// Names within the folder: the safetensors files in order, then the index if there is one.
  std::vector<std::string> files;
  /// Bytes of all tensors.
  uint64_t total_bytes = 0;
};

/// Writes model.safetensors, or model-00001-of-0000n.safetensors and model.safetensors.index.json where the tensors
/// need more than one shard of `max_shard_bytes` (a larger tensor gets a shard of its own). The folder must exist and
/// must hold no weights yet: ALREADY_EXISTS. An error of the generator ends the work; unfinished files are removed.
absl::StatusOr<WrittenCheckpoint> WriteCheckpoint(const std::filesystem::path& folder, const TensorGenerator& next,
                                                  uint64_t max_shard_bytes = kDefaultMaxShardBytes,
                                                  const std::map<std::string, std::string>& metadata = {
                                                      {"format", "pt"}});

}  // namespace regroup
