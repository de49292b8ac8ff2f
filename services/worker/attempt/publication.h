// Makes a finished result visible under its final name. Thread-safe.
#pragma once

#include <filesystem>

#include "absl/status/status.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// Renames staged to published without replacing anything. Also OK if `published` already holds the result of the same
/// task, because an earlier try may have got this far: its report must be, byte for byte, one that an attempt of the
/// task left in `task_folder` (jobs/<job>/<task> of the working folder), whatever job it names. ALREADY_EXISTS if
/// anything else has the name. In both cases the staged folder is removed.
absl::Status Publish(const v1::Publication& publication, const std::filesystem::path& task_folder);

/// Removes a staged folder that will not be published: it is a hidden folder beside the result, where nobody would look
/// for it.
void RemoveStaged(const v1::Publication& publication);

/// Removes the staged folder of a failed or stopped report attempt, even if the attempt died before reporting it. Other
/// tasks stage nothing.
void RemoveStaged(const v1::TaskAssignment& assignment, const std::filesystem::path& work_folder);

/// Returns the task failure for an error of Publish.
v1::Failure PublicationFailure(const absl::Status& status);

}  // namespace regroup
