// From a stage's status to the attempt's failure.
#pragma once

#include "absl/status/status.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, FAILED_PRECONDITION, UNIMPLEMENTED,
/// RESOURCE_EXHAUSTED (a full disk) are the user's; DATA_LOSS is the data's; OUT_OF_RANGE a quality gate; UNAVAILABLE
/// and DEADLINE_EXCEEDED the infrastructure's; anything else is ours.
v1::TaskOutcome FailedOutcome(const absl::Status& status);

}  // namespace regroup
