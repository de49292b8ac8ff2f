#include "coordinator/api/job_submission.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <optional>

#include "coordinator/api/requests.h"
#include "services/common/base/random_bytes.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/resolve_job_spec.h"
#include "services/common/job_file/validate_job_spec.h"

namespace regroup {
namespace {

constexpr size_t kSuffixLength = 6;
constexpr size_t kLongestRequestId = 128;

/// Serialises deterministically: equal messages have equal bytes, even if they hold maps.
std::string CanonicalBytes(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

absl::StatusOr<std::string> RandomSuffix() {
  static constexpr std::string_view kCharacters = "abcdefghijklmnopqrstuvwxyz0123456789";
  REGROUP_ASSIGN_OR_RETURN(std::string suffix, RandomBytes(kSuffixLength));
  for (char& c : suffix) c = kCharacters[static_cast<unsigned char>(c) % kCharacters.size()];
  return suffix;
}

absl::StatusOr<bool> IsTaken(const std::string& id, const Turn& turn) {
  if (turn.cluster.jobs().Find(id) != nullptr) return true;
  const absl::StatusOr<JobRecord> stored = turn.store.GetJob(id);
  if (stored.ok()) return true;
  if (absl::IsNotFound(stored.status())) return false;
  return stored.status();
}

absl::StatusOr<std::string> FreeId(const v1::SubmitJobRequest& request, const Turn& turn) {
  if (!request.job_id().empty()) {
    REGROUP_ASSIGN_OR_RETURN(const bool is_taken, IsTaken(request.job_id(), turn));
    if (!is_taken) return request.job_id();
    return MakeError(absl::StatusCode::kAlreadyExists, v1::JOB_ID_TAKEN,
                     fmt::format("job \"{}\" already exists; choose another job_id", request.job_id()));
  }
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const std::string suffix, RandomSuffix());
    std::string id = fmt::format("{}-{}", request.spec().name(), suffix);
    REGROUP_ASSIGN_OR_RETURN(const bool is_taken, IsTaken(id, turn));
    if (!is_taken) return id;
  }
}

/// Returns the store's key of a request id, which belongs to one caller.
std::string RequestKey(const JobSubmission& submission) {
  const std::string& owner = submission.caller.name;
  return owner.empty() ? submission.request.request_id() : owner + "\n" + submission.request.request_id();
}

/// Returns the job that an earlier call with this request id created, if any.
absl::StatusOr<std::optional<std::string>> EarlierJob(const JobSubmission& submission, const Turn& turn) {
  const std::string& id = submission.request.request_id();
  if (id.empty()) return std::nullopt;
  const std::string key = RequestKey(submission);
  REGROUP_ASSIGN_OR_RETURN(std::optional<SubmittedRequest> earlier, turn.store.FindRequest(key));
  for (const SubmittedRequest& request : turn.changes.requests) {
    if (request.request_id == key) earlier = request;
  }
  if (!earlier) return std::nullopt;
  if (earlier->digest == submission.digest) return earlier->job;
  return MakeError(
      absl::StatusCode::kAlreadyExists, v1::REQUEST_ID_REUSED,
      fmt::format("request_id \"{}\" was used for another request, which created job \"{}\"; use a new one", id,
                  earlier->job));
}

absl::Status PathsNotAllowed(const std::vector<FieldViolation>& violations) {
  return MakeError(absl::StatusCode::kPermissionDenied, v1::NOT_ALLOWED,
                   std::string(InvalidFields(violations).message()), violations);
}

size_t UnfinishedJobsOf(const std::string& owner, const Turn& turn) {
  size_t own = 0;
  for (const auto& [id, job] : turn.cluster.jobs()) own += job.proto().owner() == owner ? 1 : 0;
  return own;
}

}  // namespace

absl::StatusOr<JobSubmission> CheckSubmission(const v1::SubmitJobRequest& request, const Caller& caller,
                                              const AllowedPaths& allowed) {
  if (const size_t bytes = request.spec().ByteSizeLong(); bytes > kLargestSpec) {
    return InvalidFields(
        {Violation("spec", fmt::format("has {} bytes; a job has at most {}: write fewer or shorter entries", bytes,
                                       kLargestSpec))});
  }
  std::vector<FieldViolation> violations = ValidateJobSpec(request.spec());
  if (!request.job_id().empty() && !IsResourceId(request.job_id())) {
    violations.push_back(Violation("job_id", "write lower-case letters, digits and hyphens, at most 63"));
  }
  if (!IsPlainText(request.request_id(), kLongestRequestId)) {
    violations.push_back(Violation(
        "request_id", fmt::format("write at most {} characters and no control characters", kLongestRequestId)));
  }
  if (!violations.empty()) return InvalidFields(violations);
  violations = CheckAllowedPaths(request.spec(), allowed);
  if (!violations.empty()) return PathsNotAllowed(violations);
  v1::SubmitJobRequest body = request;
  body.clear_request_id();
  return JobSubmission{request, ResolveJobSpec(request.spec()), Sha256Of(CanonicalBytes(body)), caller, ""};
}

absl::StatusOr<std::string> AcceptSubmission(const JobSubmission& submission, Turn& turn) {
  const v1::SubmitJobRequest& request = submission.request;
  REGROUP_ASSIGN_OR_RETURN(const std::optional<std::string> earlier, EarlierJob(submission, turn));
  if (earlier) return *earlier;
  REGROUP_RETURN_IF_ERROR(CheckLimit(submission.caller.name, turn));
  REGROUP_ASSIGN_OR_RETURN(std::string id, FreeId(request, turn));
  turn.cluster.AddJob(
      Job::Create(id, request.spec(), submission.resolved, turn.now, submission.caller.name, submission.traceparent));
  if (!request.request_id().empty()) {
    turn.changes.requests.push_back({RequestKey(submission), submission.digest, id});
  }
  return id;
}

absl::StatusOr<v1::Job> PreviewSubmission(const JobSubmission& submission, const Turn& turn) {
  REGROUP_ASSIGN_OR_RETURN(const std::optional<std::string> earlier, EarlierJob(submission, turn));
  if (earlier) return turn.DescribeJob(*earlier);
  REGROUP_RETURN_IF_ERROR(CheckLimit(submission.caller.name, turn));
  REGROUP_ASSIGN_OR_RETURN(const std::string id, FreeId(submission.request, turn));
  v1::Job job;
  job.set_name(JobName(id));
  *job.mutable_spec() = submission.request.spec();
  *job.mutable_resolved_spec() = submission.resolved;
  job.set_owner(submission.caller.name);
  job.set_traceparent(submission.traceparent);
  return job;
}

absl::Status CheckLimit(const std::string& owner, const Turn& turn) {
  const size_t all = turn.cluster.jobs().size();
  const size_t limit = turn.cluster.options().max_unfinished_jobs;
  const size_t own_limit = turn.cluster.options().max_unfinished_jobs_per_caller;
  if (all >= limit) {
    return MakeError(absl::StatusCode::kResourceExhausted, v1::LIMIT_REACHED,
                     fmt::format("{} jobs are unfinished; submit again when some have finished", limit));
  }
  const std::optional<int> quota = turn.cluster.quotas().Of(owner).jobs;
  if (owner.empty() || (!quota && all < own_limit)) return absl::OkStatus();
  const size_t own = UnfinishedJobsOf(owner, turn);
  if (quota && own >= static_cast<size_t>(*quota)) {
    return MakeError(
        absl::StatusCode::kResourceExhausted, v1::LIMIT_REACHED,
        fmt::format("the quota of \"{}\" is {} unfinished jobs; submit again when some have finished", owner, *quota));
  }
  if (own < own_limit) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kResourceExhausted, v1::LIMIT_REACHED,
      fmt::format("{} jobs of \"{}\" are unfinished; submit again when some have finished", own_limit, owner));
}

}  // namespace regroup
