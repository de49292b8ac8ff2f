// Folders of the working folder that jobs share: their names are digests of what they were computed from, and each
// appears by one rename.
#pragma once

#include <filesystem>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// Returns true if the folder exists. All ranks must call it together and get rank 0's answer, so that they take the
/// same branch even if another job publishes at the same time.
absl::StatusOr<bool> IsPublished(const StageContext& context, const std::filesystem::path& published);

/// Moves a finished folder to its shared name. If another job was faster, its folder stays. Called only by rank 0.
absl::Status PublishShared(const std::filesystem::path& staged, const std::filesystem::path& published);

}  // namespace regroup
