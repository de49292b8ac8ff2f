// Which folders a job may read and write: the roots that the people who run the cluster allow. The coordinator asks
// when a job is submitted, the worker again before every attempt, because only it sees what the paths lead to by then.
//
// Functions look at the file system and may be called from any thread.
#pragma once

#include <filesystem>
#include <vector>

#include "regroup/v1/job.pb.h"
#include "services/common/base/error.h"

namespace regroup {

struct AllowedPaths {
  /// What a job may read; empty means everything.
  std::vector<std::filesystem::path> data_roots;
  /// Where its result may appear; empty means everywhere.
  std::vector<std::filesystem::path> output_roots;
};

/// The paths of the job that lie, or lead by a symbolic link, outside of the roots. Empty where all are allowed.
std::vector<FieldViolation> CheckAllowedPaths(const v1::JobSpec& spec, const AllowedPaths& allowed);

}  // namespace regroup
