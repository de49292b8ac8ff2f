// Frees the disk space of a task that has succeeded. Thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>

namespace regroup {

/// Removes what no later task reads from `task_folder` (jobs/<job>/<task> of the working folder), whose attempt `epoch`
/// succeeded: the training checkpoints, and of earlier attempts all but assignment, logs and training curves. Call it
/// only when the coordinator has accepted the success, because until then another attempt may continue from them. What
/// cannot be removed stays until the job is deleted.
void RemoveWorkOfFinishedTask(const std::filesystem::path& task_folder, int64_t epoch);

}  // namespace regroup
