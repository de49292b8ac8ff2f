// Makes a finished result visible under its final name. Thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// Renames staged to published without replacing anything. OK too if `published` holds a result of the same job
/// already, because an earlier try of ours may have got this far. ALREADY_EXISTS if something else has the name.
absl::Status Publish(const v1::Publication& publication, const std::string& job);

/// The failure that stands for an error of Publish.
v1::Failure PublicationFailure(const absl::Status& status);

}  // namespace regroup
