// Turns a SubmitJobRequest into a job: checks it, fills in defaults, chooses an id, and answers a repeated request with
// the same job.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "coordinator/access/access_rules.h"
#include "coordinator/core/core.h"
#include "regroup/v1/job_service.pb.h"
#include "services/common/job_file/allowed_paths.h"

namespace regroup {

/// A request that passed all stateless checks.
struct JobSubmission {
  v1::SubmitJobRequest request;
  v1::JobSpec resolved;
  /// SHA-256 of the request without its request_id: a repeated request must have the same digest.
  std::string digest;
  Caller caller;
  /// The call's W3C trace context; empty if it had none.
  std::string traceparent;
};

/// Most bytes of a new job's specification: every list, event and assignment of the job carries it. A job file has a
/// few kilobytes.
inline constexpr size_t kLargestSpec = size_t{64} << 10;

/// Checks the request and fills in the defaults. INVALID_ARGUMENT names every invalid field, or that the specification
/// is too large, PERMISSION_DENIED (NOT_ALLOWED) every path that is not allowed.
absl::StatusOr<JobSubmission> CheckSubmission(const v1::SubmitJobRequest& request, const Caller& caller,
                                              const AllowedPaths& allowed);

/// Accepts the job in this turn and returns its id; for a repeated request, the first job's. ALREADY_EXISTS
/// (JOB_ID_TAKEN, REQUEST_ID_REUSED), RESOURCE_EXHAUSTED (LIMIT_REACHED).
absl::StatusOr<std::string> AcceptSubmission(const JobSubmission& submission, Turn& turn);

/// Returns the job as AcceptSubmission would accept it now, without accepting it. Same errors.
absl::StatusOr<v1::Job> PreviewSubmission(const JobSubmission& submission, const Turn& turn);

/// Returns RESOURCE_EXHAUSTED (LIMIT_REACHED) if there may not be one more unfinished job, of this owner or of all.
absl::Status CheckLimit(const std::string& owner, const Turn& turn);

}  // namespace regroup
