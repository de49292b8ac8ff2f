// Submits a job so that running the same file again continues the same job.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "regroup/v1/job_service.pb.h"

namespace regroup {

/// The calls to the coordinator, which tests replace.
struct JobCalls {
  std::function<absl::StatusOr<v1::Job>(const v1::SubmitJobRequest&)> submit;
  std::function<absl::StatusOr<v1::Job>(const v1::RetryJobRequest&)> retry;
  std::function<absl::StatusOr<v1::Job>(const v1::ResumeJobRequest&)> resume;
  /// Returns true if the published result of a finished job still exists.
  std::function<bool(const v1::Job&)> result_exists;
};

/// Returns the job of this spec.
///
/// A job that runs, or has succeeded and still has its result, is returned as it is. A failed or cancelled one is
/// retried, so that its finished tasks are kept, and a paused one is resumed. If the service rejects that, or the
/// result of a finished job was removed, a new job is submitted. Other errors of the service are returned.
absl::StatusOr<v1::Job> SubmitOnce(const v1::JobSpec& spec, const JobCalls& calls);

/// Returns the request id of the n-th job of a spec, from 1.
std::string RequestId(const v1::JobSpec& spec, int n);

}  // namespace regroup
