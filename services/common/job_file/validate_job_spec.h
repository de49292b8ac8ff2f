// Checks a job for everything that can be said without opening a file. Pure.
#pragma once

#include <vector>

#include "regroup/v1/job.pb.h"
#include "services/common/base/error.h"

namespace regroup {

/// What is wrong with the job, with the job file's path of each field; empty where it can be accepted. Takes the job as
/// written or as resolved: defaults are filled in before anything is compared.
std::vector<FieldViolation> ValidateJobSpec(const v1::JobSpec& spec);

}  // namespace regroup
