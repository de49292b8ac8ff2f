// From a SubmitJobRequest to a job: checks, defaults, an id, and the same answer for the same request.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "coordinator/access/access_rules.h"
#include "coordinator/core/core.h"
#include "regroup/v1/job_service.pb.h"
#include "services/common/job_file/allowed_paths.h"

namespace regroup {

/// A request that passed every check that needs no state.
struct JobSubmission {
  v1::SubmitJobRequest request;
  v1::JobSpec resolved;
  /// SHA-256 of what makes two requests with one request_id the same.
  std::string digest;
  Caller caller;
};

/// INVALID_ARGUMENT with every field that is wrong, PERMISSION_DENIED (NOT_ALLOWED) with every path that is not
/// allowed.
absl::StatusOr<JobSubmission> CheckSubmission(const v1::SubmitJobRequest& request, const Caller& caller,
                                              const AllowedPaths& allowed);

/// Accepts the job in this turn and returns its id; for a repeated request, the first job's. ALREADY_EXISTS
/// (JOB_ID_TAKEN, REQUEST_ID_REUSED), RESOURCE_EXHAUSTED (LIMIT_REACHED).
absl::StatusOr<std::string> AcceptSubmission(const JobSubmission& submission, Turn& turn);

/// The job as it would be accepted now, without accepting it; the same errors.
absl::StatusOr<v1::Job> PreviewSubmission(const JobSubmission& submission, const Turn& turn);

}  // namespace regroup
