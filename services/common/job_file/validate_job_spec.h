// Checks everything in a job that can be checked without opening a file. Pure.
#pragma once

#include <vector>

#include "regroup/v1/job.pb.h"
#include "services/common/base/error.h"

namespace regroup {

/// Returns the violations with the job file's path of each field; empty if the job can be accepted. Takes the job as
/// written or as resolved: it fills in the defaults before it compares anything.
std::vector<FieldViolation> ValidateJobSpec(const v1::JobSpec& spec);

}  // namespace regroup
