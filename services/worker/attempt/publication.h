// Makes a finished result visible under its final name. Thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// Renames staged to published without replacing anything. OK too if `published` holds a result of the same job
/// already, because an earlier try of ours may have got this far. ALREADY_EXISTS if something else has the name. In
/// both cases the staged folder is removed.
absl::Status Publish(const v1::Publication& publication, const std::string& job);

/// Removes what will not be published: it is hidden beside the result, where nobody would look for it.
void RemoveStaged(const v1::Publication& publication);

/// Removes what a failed or stopped report attempt had staged, whether or not it lived to say so. Other tasks have
/// none.
void RemoveStaged(const v1::TaskAssignment& assignment);

/// The failure that stands for an error of Publish.
v1::Failure PublicationFailure(const absl::Status& status);

}  // namespace regroup
