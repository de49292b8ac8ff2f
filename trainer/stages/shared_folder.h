// Folders of the working folder that jobs share: their names are digests of what they were computed from, and each
// appears by one rename, with the checksums of its files.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// A task's note of a shared folder that it used.
struct SharedFolder {
  /// Relative to the working folder.
  std::string folder;
  /// SHA-256 of the folder's list of checksums.
  std::string sha256;
};

/// Returns true if the folder exists and all its files are as they were written; a damaged one is removed, so that it
/// is computed again. All ranks must call it together and get rank 0's answer, so that they take the same branch even
/// if another job publishes at the same time.
absl::StatusOr<bool> IsPublished(const StageContext& context, const std::filesystem::path& published);

/// Adds the checksums to a finished folder and moves it to its shared name. If another job was faster, its folder
/// stays. Called only by rank 0.
absl::Status PublishShared(const std::filesystem::path& staged, const std::filesystem::path& published);

/// Describes a published folder.
absl::StatusOr<SharedFolder> DescribeShared(const StageContext& context, const std::string& folder);

/// Compares files of the folder with its checksums. NOT_FOUND if the folder is gone; DATA_LOSS names the file that is
/// damaged, or the list of checksums if it is not the one that was described.
absl::Status CheckShared(const StageContext& context, const SharedFolder& shared,
                         const std::vector<std::string>& files);

}  // namespace regroup
