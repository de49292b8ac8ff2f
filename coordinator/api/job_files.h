// Removes files that outlive a job and that nothing else removes. Functions may be called from any thread; files that
// cannot be removed are logged and stay.
#pragma once

#include <filesystem>
#include <string>

#include "regroup/v1/job.pb.h"

namespace regroup {

/// Removes the working files of a deleted job. Does nothing if the coordinator sees no working folder.
void RemoveJobFiles(const std::filesystem::path& work_folder, const std::string& job);

/// Removes staged results that killed workers left beside the output of a job that has ended. Only those of attempts
/// that had ended by then are removed: a retried job stages under a later epoch.
void RemoveStagedResults(const v1::Job& job);

}  // namespace regroup
