// Reads the job file named on the command line and checks what can be checked here.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "services/common/job_file/job_file.h"

namespace regroup {

/// The job, or INVALID_ARGUMENT with one "file:line:column: ..." a line and the violations as details.
absl::StatusOr<JobFile> ReadCheckedJobFile(const std::string& path);

}  // namespace regroup
