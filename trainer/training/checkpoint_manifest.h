// The manifest of a training checkpoint: which files it has, and what is in them. No libtorch here, so that it can be
// fuzzed alone. Pure functions, for any thread.
//
//   {"format": 2, "step": 200, "ranks": 2, "files": [{"name": "rank-00000-of-00002.safetensors", "bytes": n,
//    "sha256": hex}, ...]}
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

  /// Steps that are done.
  int64_t step = 0;
  /// One a rank, in order of rank.
  std::vector<File> files;
  bool operator==(const CheckpointManifest&) const = default;
};

/// The file of a rank's state: "rank-00001-of-00002.safetensors".
std::string RankFileName(int64_t rank, int64_t ranks);

std::string FormatCheckpointManifest(const CheckpointManifest& manifest);

/// DATA_LOSS for anything that FormatCheckpointManifest does not write: another format, a missing field, a number of
/// files that is not the number of ranks, a file that is not its rank's.
absl::StatusOr<CheckpointManifest> ParseCheckpointManifest(std::string_view text);

}  // namespace regroup
