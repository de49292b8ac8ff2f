#include "services/cli/submit_once.h"

#include <fmt/format.h>

#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/job_file.h"

namespace regroup {
namespace {

constexpr int kMostJobsOfOneSpec = 10'000;

absl::StatusOr<v1::Job> SubmitNth(const v1::JobSpec& spec, int n, const JobCalls& calls) {
  v1::SubmitJobRequest request;
  *request.mutable_spec() = spec;
  request.set_request_id(RequestId(spec, n));
  return calls.submit(request);
}

}  // namespace

std::string RequestId(const v1::JobSpec& spec, int n) {
  return fmt::format("run-{}-{}", Sha256Of(FormatJobFile(spec)).substr(0, 32), n);
}

absl::StatusOr<v1::Job> SubmitOnce(const v1::JobSpec& spec, const JobCalls& calls) {
  for (int n = 1; n <= kMostJobsOfOneSpec; ++n) {
    REGROUP_ASSIGN_OR_RETURN(v1::Job job, SubmitNth(spec, n, calls));
    switch (job.state()) {
      case v1::JOB_STATE_FAILED:
      case v1::JOB_STATE_CANCELLED: {
        v1::RetryJobRequest request;
        request.set_name(job.name());
        auto retried = calls.retry(request);
        if (!absl::IsFailedPrecondition(retried.status())) return retried;
        break;
      }
      case v1::JOB_STATE_PAUSING:
      case v1::JOB_STATE_PAUSED: {
        v1::ResumeJobRequest request;
        request.set_name(job.name());
        return calls.resume(request);
      }
      case v1::JOB_STATE_SUCCEEDED:
        if (calls.result_exists(job)) return job;
        break;
      default:
        return job;
    }
  }
  return absl::ResourceExhaustedError(
      "this job file was run too often in this folder; use another one with --work-dir");
}

}  // namespace regroup
