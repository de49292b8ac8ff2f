// Finds the files that hold a folder's weights, as Transformers does: model.safetensors, else the shards that
// model.safetensors.index.json names, else pytorch_model.bin or its shards. May be called from any thread.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/weights_file.h"

namespace regroup {

struct FoundWeights {
  /// Ordered by name.
  std::vector<std::shared_ptr<const WeightsFile>> files;
  /// The file in which the index lists each tensor; empty without an index. As in Transformers, it only tells which
  /// files there are: a tensor may lie in another of them, or in none.
  std::map<std::string, std::string, std::less<>> listed;
};

/// NOT_FOUND for a folder without weights or without a shard, with what is there instead; DATA_LOSS for a malformed
/// file or index.
absl::StatusOr<FoundWeights> FindWeights(const std::filesystem::path& folder);

/// Parses the text of a JSON file of a folder. DATA_LOSS with its name, and with what it is instead if that is known.
absl::StatusOr<nlohmann::json> ParseFolderJson(const std::filesystem::path& path, const std::string& text);

}  // namespace regroup
