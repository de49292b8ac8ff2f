// Chooses which files of a folder a first job file trains on and which it keeps for evaluation, by their names.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

/// Names for the job file's keys `data` or `data_files`.
struct DataChoice {
  /// One name, or several files.
  std::vector<std::filesystem::path> training;
  /// Files whose names begin with valid, val, dev or eval, or else with test; empty if there is none.
  std::vector<std::filesystem::path> evaluation;
  /// Bytes of the training files; unset if a file is compressed, so that its size does not tell how much text it has.
  std::optional<uint64_t> training_bytes;
};

/// Looks at a data file or at the files of a folder; reads none of them. NOT_FOUND if there is nothing of this name;
/// INVALID_ARGUMENT for a folder without data files, with more than a job file may list, or with nothing to train on,
/// and for a name that a job file would read as a pattern. May be called from any thread.
absl::StatusOr<DataChoice> ChooseData(const std::filesystem::path& data);

}  // namespace regroup
