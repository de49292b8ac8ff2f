// Translates the status of a stage into the failure of its attempt. A pure function.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// Returns the failure with the status's message. Its class follows from the code:
///   USER           INVALID_ARGUMENT, ALREADY_EXISTS, PERMISSION_DENIED, FAILED_PRECONDITION, UNIMPLEMENTED
///   DATA           NOT_FOUND, DATA_LOSS
///   QUALITY_GATE   OUT_OF_RANGE
///   INFRA          RESOURCE_EXHAUSTED (a full disk, no memory), UNAVAILABLE, DEADLINE_EXCEEDED
///   INTERNAL       any other: a defect of ours
v1::TaskOutcome FailedOutcome(const absl::Status& status);

/// Returns what the user can do about a stage that ran out of memory: what was being done, what was asked for, and the
/// job file's keys that make it smaller. Any other status is returned as it is. `phase` may be empty.
absl::Status ExplainMemory(const absl::Status& status, v1::TaskKind kind, std::string_view phase);

}  // namespace regroup
