// Reads and writes the manifest of a training checkpoint, which lists its files and their contents. Does not use
// libtorch, so that it can be fuzzed alone. Pure functions, for any thread.
//
//   {"format": 3, "step": 200, "ranks": 2, "files": [{"name": "rank-00000-of-00002.safetensors", "bytes": n,
//   "sha256": hex}, ...]}
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

struct CheckpointManifest {
  struct File {
    std::string name;
    uint64_t bytes = 0;
    std::string sha256;
    bool operator==(const File&) const = default;
  };

  /// Number of completed steps.
  int64_t step = 0;
  /// One file per rank, in rank order.
  std::vector<File> files;
  bool operator==(const CheckpointManifest&) const = default;
};

/// Returns the name of a rank's state file: "rank-00001-of-00002.safetensors".
std::string RankFileName(int64_t rank, int64_t ranks);

std::string FormatCheckpointManifest(const CheckpointManifest& manifest);

/// DATA_LOSS for anything that FormatCheckpointManifest does not write: another format, a missing field, a number of
/// files other than the number of ranks, or a file name of another rank.
absl::StatusOr<CheckpointManifest> ParseCheckpointManifest(std::string_view text);

}  // namespace regroup
