#include "coordinator/api/job_service.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/api/job_streams.h"
#include "coordinator/api/job_submission.h"
#include "coordinator/api/requests.h"
#include "services/common/base/logging.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"
#include "services/common/base/trace_parent.h"
#include "services/common/rpc/status.h"
#include "services/common/rpc/stream_opening.h"

namespace regroup {
namespace {

constexpr size_t kJobsPerPage = 50;
/// services/common/job_file/validate_job_spec.cc gives a job no more.
constexpr int kMostLabels = 16;

void FinishWithJob(grpc::ServerUnaryReactor* reactor, const absl::StatusOr<v1::Job>& job, v1::Job* response) {
  if (job.ok()) *response = *job;
  reactor->Finish(ToGrpc(job.status()));
}

absl::Status CancelJobIn(const std::string& job, Turn& turn) {
  if (turn.cluster.jobs().Find(job) != nullptr) return turn.cluster.CancelJob(job, turn.now);
  // A stored job outside of the cluster is final and stays as it is.
  return turn.store.GetJob(job).status();
}

bool IsBeingDeleted(const std::string& job, const Turn& turn) {
  const std::vector<std::string>& deleted = turn.changes.deleted_jobs;
  return std::find(deleted.begin(), deleted.end(), job) != deleted.end();
}

absl::Status RetryJobIn(const std::string& id, Turn& turn) {
  if (const Job* live = turn.cluster.jobs().Find(id)) {
    Job copy = *live;
    return copy.Retry(turn.now);
  }
  if (IsBeingDeleted(id, turn)) return JobNotFound(id);
  REGROUP_ASSIGN_OR_RETURN(JobRecord record, turn.store.GetJob(id));
  REGROUP_ASSIGN_OR_RETURN(Job job, Job::Restore(std::move(record), turn.now));
  REGROUP_RETURN_IF_ERROR(job.Retry(turn.now));
  REGROUP_RETURN_IF_ERROR(CheckLimit(job.proto().owner(), turn));
  turn.cluster.AddJob(std::move(job));
  return absl::OkStatus();
}

/// Returns why a job that is in the store only cannot change like this: it is in a final state.
absl::Status WhyNot(absl::Status (Job::*change)(Time), const std::string& id, const Turn& turn) {
  REGROUP_ASSIGN_OR_RETURN(JobRecord record, turn.store.GetJob(id));
  REGROUP_ASSIGN_OR_RETURN(Job job, Job::Restore(std::move(record), turn.now));
  return (job.*change)(turn.now);
}

absl::Status PauseJobIn(const std::string& id, Turn& turn) {
  if (turn.cluster.jobs().Find(id) == nullptr) return WhyNot(&Job::Pause, id, turn);
  return turn.cluster.PauseJob(id, turn.now);
}

absl::Status ResumeJobIn(const std::string& id, Turn& turn) {
  if (turn.cluster.jobs().Find(id) == nullptr) return WhyNot(&Job::Resume, id, turn);
  return turn.cluster.ResumeJob(id, turn.now);
}

absl::Status DeleteJobIn(const std::string& id, Turn& turn) {
  if (turn.cluster.jobs().Find(id) != nullptr) {
    return MakeError(absl::StatusCode::kFailedPrecondition, v1::WRONG_STATE,
                     fmt::format("job \"{}\" is not finished; cancel it first", id));
  }
  REGROUP_RETURN_IF_ERROR(turn.store.GetJob(id).status());
  turn.changes.deleted_jobs.push_back(id);
  return absl::OkStatus();
}

/// Applies a caller's change to a job and adds its audit entry.
absl::Status ChangeIn(Access* access, const Admission& admission,
                      absl::Status (*change)(const std::string& job, Turn& turn), Turn& turn) {
  REGROUP_RETURN_IF_ERROR(CheckMayUse(access, admission, turn));
  REGROUP_RETURN_IF_ERROR(change(admission.id, turn));
  Audit(admission.caller, admission.method, JobName(admission.id), &turn);
  return absl::OkStatus();
}

LogQuery LogQueryOf(const std::string& job, const v1::StreamLogsRequest& request) {
  return {.job = job,
          .task = request.task(),
          .ranks = {request.ranks().begin(), request.ranks().end()},
          .min_severity = request.min_severity(),
          .since = FromProto(request.since())};
}

MetricQuery MetricQueryOf(const std::string& job, const v1::StreamMetricsRequest& request) {
  return {.job = job,
          .metrics = {request.metrics().begin(), request.metrics().end()},
          // Unset means all, and steps may start from 0.
          .after_step = request.after_step() == 0 ? -1 : request.after_step()};
}

void AddWaitingReasons(const Turn& turn, v1::ListJobsResponse* response) {
  std::vector<v1::Job*> listed;
  std::vector<const Job*> live;
  for (v1::Job& job : *response->mutable_jobs()) {
    const Job* found = turn.cluster.jobs().Find(LastSegment(job.name()));
    if (found == nullptr) continue;
    listed.push_back(&job);
    live.push_back(found);
  }
  const std::vector<std::string> reasons = turn.cluster.WaitingReasonsOf(live, turn.now);
  for (size_t i = 0; i < listed.size(); ++i) listed[i]->set_waiting_reason(reasons[i]);
}

absl::StatusOr<JobQuery> JobQueryOf(const v1::ListJobsRequest& request, const Caller& caller) {
  JobQuery query;
  REGROUP_ASSIGN_OR_RETURN(query.limit, PageSize(request.page_size(), kJobsPerPage));
  REGROUP_ASSIGN_OR_RETURN(query.before, PositionOf(request.page_token()));
  if (request.labels_size() > kMostLabels) {
    return InvalidFields(
        {Violation("labels", fmt::format("has {} labels; a job has at most {}", request.labels_size(), kMostLabels))});
  }
  for (const int state : request.states()) query.states.push_back(static_cast<v1::JobState>(state));
  query.labels = {request.labels().begin(), request.labels().end()};
  query.owner = request.owner();
  if (query.owner.empty() && caller.role == Role::kSubmitter) query.owner = caller.name;
  if (caller.SeesJobOf(query.owner)) return query;
  return MakeError(absl::StatusCode::kPermissionDenied, v1::NOT_ALLOWED,
                   fmt::format("\"{}\" may list only its own jobs; leave out owner", caller.name));
}

/// Returns the call's trace context; empty if it has none, several, or one that is malformed, which its recommendation
/// says to ignore.
std::string TraceparentOf(const grpc::ServerContextBase& context) {
  const auto [first, last] = context.client_metadata().equal_range(kTraceparentKey);
  if (first == last || std::next(first) != last) return "";
  const std::string_view value(first->second.data(), first->second.size());
  return IsTraceparent(value) ? std::string(value) : "";
}

/// Returns `checked`, and tells the audit log if the caller may not have what it asks for.
template <typename T>
absl::StatusOr<T> Noted(absl::StatusOr<T> checked, Access* access, const Caller& caller, std::string_view method) {
  if (absl::IsPermissionDenied(checked.status())) {
    access->NoteRefused(caller, method, "", std::string(checked.status().message()));
  }
  return checked;
}

}  // namespace

grpc::ServerUnaryReactor* JobService::SubmitJob(grpc::CallbackServerContext* context,
                                                const v1::SubmitJobRequest* request, v1::Job* response) {
  const absl::StatusOr<Caller> caller = access_->Admit(*context, "JobService/SubmitJob");
  if (!caller.ok()) return FinishWith(context, caller.status());
  absl::StatusOr<JobSubmission> checked =
      Noted(CheckSubmission(*request, *caller, allowed_paths_), access_, *caller, "JobService/SubmitJob");
  if (!checked.ok()) return FinishWith(context, checked.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  auto submission = std::make_shared<JobSubmission>(std::move(*checked));
  submission->traceparent = TraceparentOf(*context);
  if (request->validate_only()) {
    core_->Read([=](const Turn& turn) { FinishWithJob(reactor, PreviewSubmission(*submission, turn), response); });
    return reactor;
  }
  auto id = std::make_shared<std::string>();
  core_->Change(
      [=](Turn& turn) -> absl::Status {
        REGROUP_ASSIGN_OR_RETURN(*id, AcceptSubmission(*submission, turn));
        Audit(submission->caller, "JobService/SubmitJob", JobName(*id), &turn);
        return absl::OkStatus();
      },
      [=](const absl::Status& status, const Turn& turn) {
        if (!status.ok()) return reactor->Finish(ToGrpc(status));
        LogInfo("job accepted", {{"job", *id}, {kTraceparentKey, submission->traceparent}});
        FinishWithJob(reactor, turn.DescribeJob(*id), response);
      });
  return reactor;
}

grpc::ServerUnaryReactor* JobService::GetJob(grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
                                             v1::Job* response) {
  const auto admission = AdmitTo(access_, *context, "JobService/GetJob", "jobs", request->name());
  if (!admission.ok()) return FinishWith(context, admission.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Read([=, access = access_, admission = *admission](const Turn& turn) {
    const absl::Status allowed = CheckMayUse(access, admission, turn);
    if (!allowed.ok()) return reactor->Finish(ToGrpc(allowed));
    FinishWithJob(reactor, turn.DescribeJob(admission.id), response);
  });
  return reactor;
}

grpc::ServerUnaryReactor* JobService::ListJobs(grpc::CallbackServerContext* context, const v1::ListJobsRequest* request,
                                               v1::ListJobsResponse* response) {
  const absl::StatusOr<Caller> caller = access_->Admit(*context, "JobService/ListJobs");
  if (!caller.ok()) return FinishWith(context, caller.status());
  const absl::StatusOr<JobQuery> query = Noted(JobQueryOf(*request, *caller), access_, *caller, "JobService/ListJobs");
  if (!query.ok()) return FinishWith(context, query.status());
  absl::StatusOr<JobPage> page = store_->ListJobs(*query);
  if (!page.ok()) return FinishWith(context, page.status());
  for (v1::Job& job : page->jobs) *response->add_jobs() = std::move(job);
  response->set_next_page_token(PageToken(page->next));
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Read([=](const Turn& turn) {
    AddWaitingReasons(turn, response);
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* JobService::ChangeJob(grpc::CallbackServerContext* context, std::string_view method,
                                                const std::string& name,
                                                absl::Status (*change)(const std::string& job, Turn& turn),
                                                v1::Job* response) {
  const auto admission = AdmitTo(access_, *context, method, "jobs", name);
  if (!admission.ok()) return FinishWith(context, admission.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Change(
      [=, access = access_, admission = *admission](Turn& turn) { return ChangeIn(access, admission, change, turn); },
      [=, id = admission->id](const absl::Status& status, const Turn& turn) {
        if (!status.ok()) return reactor->Finish(ToGrpc(status));
        FinishWithJob(reactor, turn.DescribeJob(id), response);
      });
  return reactor;
}

grpc::ServerUnaryReactor* JobService::CancelJob(grpc::CallbackServerContext* context,
                                                const v1::CancelJobRequest* request, v1::Job* response) {
  return ChangeJob(context, "JobService/CancelJob", request->name(), CancelJobIn, response);
}

grpc::ServerUnaryReactor* JobService::RetryJob(grpc::CallbackServerContext* context, const v1::RetryJobRequest* request,
                                               v1::Job* response) {
  return ChangeJob(context, "JobService/RetryJob", request->name(), RetryJobIn, response);
}

grpc::ServerUnaryReactor* JobService::PauseJob(grpc::CallbackServerContext* context, const v1::PauseJobRequest* request,
                                               v1::Job* response) {
  return ChangeJob(context, "JobService/PauseJob", request->name(), PauseJobIn, response);
}

grpc::ServerUnaryReactor* JobService::ResumeJob(grpc::CallbackServerContext* context,
                                                const v1::ResumeJobRequest* request, v1::Job* response) {
  return ChangeJob(context, "JobService/ResumeJob", request->name(), ResumeJobIn, response);
}

grpc::ServerUnaryReactor* JobService::DeleteJob(grpc::CallbackServerContext* context,
                                                const v1::DeleteJobRequest* request,
                                                google::protobuf::Empty* response) {
  const auto admission = AdmitTo(access_, *context, "JobService/DeleteJob", "jobs", request->name());
  if (!admission.ok()) return FinishWith(context, admission.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Change(
      [access = access_, admission = *admission](Turn& turn) { return ChangeIn(access, admission, DeleteJobIn, turn); },
      [=](const absl::Status& status, const Turn&) { reactor->Finish(ToGrpc(status)); });
  return reactor;
}

grpc::ServerUnaryReactor* JobService::PlanJob(grpc::CallbackServerContext* context, const v1::PlanJobRequest* request,
                                              v1::PlanJobResponse* response) {
  const absl::StatusOr<Caller> caller = access_->Admit(*context, "JobService/PlanJob");
  if (!caller.ok()) return FinishWith(context, caller.status());
  v1::SubmitJobRequest submission;
  *submission.mutable_spec() = request->spec();
  const absl::StatusOr<JobSubmission> checked =
      Noted(CheckSubmission(submission, *caller, allowed_paths_), access_, *caller, "JobService/PlanJob");
  if (!checked.ok()) return FinishWith(context, checked.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  planner_.Plan(
      checked->resolved, caller->name, [context] { return !context->IsCancelled(); },
      [=](const absl::StatusOr<v1::PlanJobResponse>& plan) {
        if (plan.ok()) *response = *plan;
        reactor->Finish(plan.ok() ? grpc::Status::OK : ToGrpc(plan.status()));
      });
  return reactor;
}

// Streams.

absl::StatusOr<Admission> JobService::AdmitStream(const grpc::CallbackServerContext& context, std::string_view method,
                                                  const std::string& name) {
  REGROUP_ASSIGN_OR_RETURN(Admission admission, AdmitTo(access_, context, method, "jobs", name));
  if (admission.caller.role != Role::kSubmitter) return admission;
  REGROUP_ASSIGN_OR_RETURN(const JobRecord record, store_->GetJob(admission.id));
  const absl::Status status = CheckOwner(admission.caller, admission.id, record.job.owner());
  if (status.ok()) return admission;
  access_->NoteRefused(admission.caller, method, JobName(admission.id), kAnothersJob);
  return status;
}

template <typename Message>
grpc::ServerWriteReactor<Message>* JobService::StartStream(grpc::CallbackServerContext& context,
                                                           const Admission& admission,
                                                           std::unique_ptr<StreamSource<Message>> source) {
  auto stream = std::make_shared<SourcedStream<Message>>(pump_, std::move(source));
  const absl::Status added = pump_->Add(stream, admission.caller.name);
  if (!added.ok()) return new EndedStream<Message>(added);
  context.AddInitialMetadata(kStreamOpeningKey, kStreamOpeningValue);
  stream->StartSendInitialMetadata();
  const std::weak_ptr<PumpedStream> weak(stream);
  stream->Keep(feeds_->Subscribe(admission.id, [pump = pump_, weak] {
    if (const std::shared_ptr<PumpedStream> alive = weak.lock()) pump->Wake(alive);
  }));
  stream->Keep(access_->EndWithToken(admission.caller, [pump = pump_, weak](const absl::Status& why) {
    if (const std::shared_ptr<PumpedStream> alive = weak.lock()) pump->End(alive, why);
  }));
  pump_->Wake(stream);
  return stream.get();
}

grpc::ServerWriteReactor<v1::JobEvent>* JobService::WatchJob(grpc::CallbackServerContext* context,
                                                             const v1::WatchJobRequest* request) {
  const absl::StatusOr<Admission> admission = AdmitStream(*context, "JobService/WatchJob", request->name());
  if (!admission.ok()) return new EndedStream<v1::JobEvent>(admission.status());
  std::optional<int64_t> after;
  if (!request->resume_token().empty()) {
    const absl::StatusOr<int64_t> revision = RevisionOf(request->resume_token());
    if (!revision.ok()) return new EndedStream<v1::JobEvent>(revision.status());
    after = *revision;
  }
  return StartStream(*context, *admission, MakeJobEventSource(store_, feeds_, admission->id, after));
}

grpc::ServerWriteReactor<v1::LogEntry>* JobService::StreamLogs(grpc::CallbackServerContext* context,
                                                               const v1::StreamLogsRequest* request) {
  const absl::StatusOr<Admission> admission = AdmitStream(*context, "JobService/StreamLogs", request->name());
  if (!admission.ok()) return new EndedStream<v1::LogEntry>(admission.status());
  return StartStream(
      *context, *admission,
      MakeLogSource(store_, LogQueryOf(admission->id, *request), request->tail_lines(), request->follow()));
}

grpc::ServerWriteReactor<v1::MetricPoint>* JobService::StreamMetrics(grpc::CallbackServerContext* context,
                                                                     const v1::StreamMetricsRequest* request) {
  const absl::StatusOr<Admission> admission = AdmitStream(*context, "JobService/StreamMetrics", request->name());
  if (!admission.ok()) return new EndedStream<v1::MetricPoint>(admission.status());
  return StartStream(*context, *admission,
                     MakeMetricSource(store_, MetricQueryOf(admission->id, *request), request->follow()));
}

}  // namespace regroup
