#include "coordinator/store/job_store.h"

#include <fmt/format.h>

#include <charconv>

#include "services/common/base/error.h"

namespace regroup {
namespace {

/// Returns the job without specification and tasks.
v1::Job WithoutSpec(const v1::Job& job) {
  // Do not copy and then clear: specification and tasks are most of a job.
  v1::Job bare;
  bare.set_name(job.name());
  bare.set_state(job.state());
  bare.set_waiting_reason(job.waiting_reason());
  if (job.has_failure()) *bare.mutable_failure() = job.failure();
  if (job.has_create_time()) *bare.mutable_create_time() = job.create_time();
  if (job.has_start_time()) *bare.mutable_start_time() = job.start_time();
  if (job.has_end_time()) *bare.mutable_end_time() = job.end_time();
  bare.set_revision(job.revision());
  *bare.mutable_figures() = job.figures();
  if (job.has_model()) *bare.mutable_model() = job.model();
  bare.set_report_folder(job.report_folder());
  bare.set_owner(job.owner());
  bare.set_traceparent(job.traceparent());
  bare.set_gave_way_to(job.gave_way_to());
  *bare.mutable_warnings() = job.warnings();
  return bare;
}

}  // namespace

std::string ResumeToken(int64_t revision) { return fmt::format("r{}", revision); }

absl::StatusOr<int64_t> RevisionOf(const std::string& resume_token) {
  int64_t revision = 0;
  const char* end = resume_token.data() + resume_token.size();
  const bool has_prefix = !resume_token.empty() && resume_token.front() == 'r';
  if (has_prefix) {
    const auto [stop, error] = std::from_chars(resume_token.data() + 1, end, revision);
    if (error == std::errc() && stop == end && revision >= 0) return revision;
  }
  FieldViolation violation;
  violation.set_field("resume_token");
  violation.set_description("write the resume_token of a JobEvent, or leave it empty");
  return InvalidFields({violation});
}

v1::JobEvent EventOf(const JobChange& change) {
  v1::JobEvent event;
  *event.mutable_job() = WithoutSpec(change.record.job);
  for (const size_t task : change.changed_tasks) {
    *event.mutable_job()->add_tasks() = change.record.job.tasks(static_cast<int>(task));
  }
  event.set_resume_token(ResumeToken(change.record.job.revision()));
  return event;
}

v1::Job WithoutTasks(const v1::Job& job) {
  v1::Job bare = WithoutSpec(job);
  *bare.mutable_spec() = job.spec();
  *bare.mutable_resolved_spec() = job.resolved_spec();
  return bare;
}

absl::Status JobNotFound(const std::string& job) {
  return MakeError(absl::StatusCode::kNotFound, v1::RESOURCE_NOT_FOUND, fmt::format("there is no job \"{}\"", job));
}

}  // namespace regroup
