// The paths of a job, and the folders that it may read and write: the roots that the people who run the cluster allow.
// The coordinator asks when a job is submitted, the worker again before every attempt, because only it sees what the
// paths lead to by then.
//
// May be called from any thread.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "regroup/v1/job.pb.h"
#include "services/common/base/error.h"

namespace regroup {

/// Calls `visit` with the job file's path of the field ("calibration.data") and its value, for each field that is a
/// path and is written. Pure.
void ForEachPath(v1::JobSpec& spec, const std::function<void(const std::string& field, std::string& path)>& visit);

struct AllowedPaths {
  /// What a job may read; empty means everything.
  std::vector<std::filesystem::path> data_roots;
  /// Where its result may appear; empty means everywhere.
  std::vector<std::filesystem::path> output_roots;
};

/// Returns the paths of the job that lie, or lead by a symbolic link, outside of the roots; empty if all are allowed.
/// Looks at the file system.
std::vector<FieldViolation> CheckAllowedPaths(const v1::JobSpec& spec, const AllowedPaths& allowed);

}  // namespace regroup
