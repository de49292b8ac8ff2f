// Converts a stage's status to the attempt's failure.
#pragma once

#include "absl/status/status.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// INVALID_ARGUMENT, ALREADY_EXISTS, PERMISSION_DENIED, FAILED_PRECONDITION and UNIMPLEMENTED become USER; NOT_FOUND
/// and DATA_LOSS become DATA; OUT_OF_RANGE becomes QUALITY_GATE; RESOURCE_EXHAUSTED (a full disk or no memory),
/// UNAVAILABLE and DEADLINE_EXCEEDED become INFRA; anything else becomes INTERNAL.
v1::TaskOutcome FailedOutcome(const absl::Status& status);

}  // namespace regroup
