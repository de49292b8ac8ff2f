// Files that outlive a job and that nobody else removes. Functions may be called from any thread; what cannot be
// removed is logged and stays.
#pragma once

#include <filesystem>
#include <string>

#include "regroup/v1/job.pb.h"

namespace regroup {

/// The working files of a job that is forgotten. Does nothing where the coordinator sees no working folder.
void RemoveJobFiles(const std::filesystem::path& work_folder, const std::string& job);

/// Staged results beside the output of a job that ended: a worker that was killed leaves them. Only those of attempts
/// that were over then are removed: a retried job stages under a later epoch.
void RemoveStagedResults(const v1::Job& job);

}  // namespace regroup
