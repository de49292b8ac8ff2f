// Submits a job so that running the same file again continues the same job.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "regroup/v1/job_service.pb.h"

namespace regroup {

/// The calls that are needed, so that tests can stand in for the coordinator.
struct JobCalls {
  std::function<absl::StatusOr<v1::Job>(const v1::SubmitJobRequest&)> submit;
  std::function<absl::StatusOr<v1::Job>(const v1::RetryJobRequest&)> retry;
  /// Whether what a finished job published is still there.
  std::function<bool(const v1::Job&)> result_exists;
};

/// The job that belongs to this spec.
///
/// A job that runs or has succeeded with its result still in place is returned as it is. A failed or cancelled one is
/// retried, so that its finished tasks are kept; where the service does not allow that, and where the result of a
/// finished job was removed, a new job begins. Errors of the service are returned.
absl::StatusOr<v1::Job> SubmitOnce(const v1::JobSpec& spec, const JobCalls& calls);

/// The request id of the n-th job of a spec, from 1.
std::string RequestId(const v1::JobSpec& spec, int n);

}  // namespace regroup
