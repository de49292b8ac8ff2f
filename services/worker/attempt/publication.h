// Makes a finished result visible under its final name. Thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// Renames staged to published without replacing anything. Also OK if `published` already holds a result of the same
/// job, because an earlier try may have got this far. ALREADY_EXISTS if anything else has the name. In both cases the
/// staged folder is removed.
absl::Status Publish(const v1::Publication& publication, const std::string& job);

/// Removes a staged folder that will not be published: it is a hidden folder beside the result, where nobody would look
/// for it.
void RemoveStaged(const v1::Publication& publication);

/// Removes the staged folder of a failed or stopped report attempt, even if the attempt died before reporting it. Other
/// tasks stage nothing.
void RemoveStaged(const v1::TaskAssignment& assignment);

/// Returns the task failure for an error of Publish.
v1::Failure PublicationFailure(const absl::Status& status);

}  // namespace regroup
