#include "coordinator/api/worker_service.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/access/worker_binding.h"
#include "coordinator/api/message_bounds.h"
#include "coordinator/api/requests.h"
#include "services/common/base/final_states.h"
#include "services/common/base/logging.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"
#include "services/common/base/trace_parent.h"
#include "services/common/rpc/status.h"

namespace regroup {
namespace {

/// Most log lines and metric points of one commit; the rest is dropped and counted.
constexpr size_t kMostLinesPerCommit = 20000;
constexpr size_t kLongestWorkerId = 63;
/// Reports of ended attempts in one push.
constexpr int kMostEndedReports = 64;

/// Coordinator and workers are tested in one version only (proto/README.md).
absl::Status CheckVersion(const v1::RegisterWorkerRequest& request) {
  if (request.version() == REGROUP_VERSION) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kFailedPrecondition, v1::VERSION_MISMATCH,
      fmt::format("worker \"{}\" has version \"{}\" and the coordinator {}; install the same version of both",
                  request.worker(), request.version(), REGROUP_VERSION));
}

absl::Status CheckRegistration(const v1::RegisterWorkerRequest& request) {
  std::vector<FieldViolation> violations;
  if (!IsWorkerId(request.worker())) {
    violations.push_back(Violation("worker", "write lower-case letters, digits, hyphens and dots, at most 63"));
  }
  if (request.slots() < 1 || request.slots() > kMostSlots) {
    violations.push_back(Violation("slots", fmt::format("write a number from 1 to {}", kMostSlots)));
  }
  for (const auto& [field, text] :
       std::initializer_list<std::pair<const char*, const std::string&>>{{"device", request.device()},
                                                                         {"device_name", request.device_name()},
                                                                         {"host", request.host()},
                                                                         {"version", request.version()},
                                                                         {"gang_address", request.gang_address()}}) {
    if (!IsPlainText(text, text.size())) violations.push_back(Violation(field, "write no control characters"));
  }
  return violations.empty() ? CheckVersion(request) : InvalidFields(violations);
}

/// A call that waits for a task, and tells the core when its caller gives up or its token is removed.
class AcquireCall : public grpc::ServerUnaryReactor {
 public:
  AcquireCall(Core* core, Access* access, const std::vector<std::filesystem::path>& data_roots, const Caller& caller,
              const v1::AcquireTaskRequest& request, v1::AcquireTaskResponse* response)
      : core_(core), worker_(request.worker()) {
    ticket_ = core->Acquire(
        request,
        [this, &data_roots, response](const absl::Status& status, const std::optional<v1::TaskAssignment>& assignment) {
          if (assignment) {
            *response->mutable_assignment() = *assignment;
            for (const std::filesystem::path& root : data_roots) response->mutable_assignment()->add_data_roots(root);
          }
          Finish(ToGrpc(status));
        });
    watched_ = access->EndWithToken(caller, [core, worker = worker_, ticket = ticket_](const absl::Status& why) {
      core->StopWaiting(worker, ticket, why);
    });
  }

  void OnCancel() override { core_->StopWaiting(worker_, ticket_); }
  void OnDone() override { delete this; }

 private:
  Core* const core_;
  const std::string worker_;
  uint64_t ticket_ = 0;
  std::shared_ptr<void> watched_;
};

/// Returns true if the job has ended and this was the last attempt of its task, on this worker: the report is then a
/// repetition.
/// UNAVAILABLE if the store cannot tell: the worker must retry rather than discard its result.
absl::StatusOr<bool> IsRepetition(const v1::ReportTaskRequest& request, const Turn& turn) {
  const v1::AttemptId& attempt = request.attempt();
  const absl::StatusOr<JobRecord> record = turn.store.GetJob(attempt.job());
  if (absl::IsNotFound(record.status())) return false;
  if (!record.ok()) return record.status();
  const v1::Task* task = LastAttempt(attempt, record->job.tasks());
  return task != nullptr && IsFinalState(task->state()) && RunsOn(*task, request.worker());
}

absl::Status ReportIn(const v1::ReportTaskRequest& request, Turn& turn) {
  REGROUP_RETURN_IF_ERROR(turn.cluster.CheckSession(request.worker(), request.incarnation()));
  const absl::Status status = turn.cluster.Report(request, turn.now);
  if (!absl::IsNotFound(status) || !request.has_outcome()) return status;
  REGROUP_ASSIGN_OR_RETURN(const bool is_repetition, IsRepetition(request, turn));
  return is_repetition ? absl::OkStatus() : status;
}

/// A push has at most one report for each attempt that the worker runs, and some of those that have just ended.
absl::Status CheckReports(const v1::PushLogsRequest& request, const Turn& turn) {
  const int most = turn.cluster.workers().Find(request.worker())->slots() + kMostEndedReports;
  if (request.reports_size() <= most) return absl::OkStatus();
  return InvalidFields({Violation("reports", fmt::format("send at most {} entries instead of {}: one for each attempt",
                                                         most, request.reports_size()))});
}

}  // namespace

template <typename Request>
absl::StatusOr<Caller> WorkerService::AdmitWorker(const grpc::ServerContextBase& context, std::string_view method,
                                                  const Request& request) {
  REGROUP_ASSIGN_OR_RETURN(const Caller caller, access_->Admit(context, method));
  absl::Status status = CheckSpeaksFor(caller, request.worker());
  if (status.ok()) status = CheckBounds(request);
  if (status.ok()) return caller;
  LogWarning(
      "call rejected",
      {{"method", method}, {"peer", caller.peer}, {"caller", caller.name}, {"reason", std::string(status.message())}});
  access_->NoteRefused(caller, method, IsWorkerId(request.worker()) ? WorkerName(request.worker()) : "",
                       std::string(status.message()));
  return status;
}

grpc::ServerUnaryReactor* WorkerService::RegisterWorker(grpc::CallbackServerContext* context,
                                                        const v1::RegisterWorkerRequest* request,
                                                        v1::RegisterWorkerResponse* response) {
  const absl::StatusOr<Caller> caller = AdmitWorker(*context, "WorkerService/RegisterWorker", *request);
  if (!caller.ok()) return FinishWith(context, caller.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Change(
      [=, caller = *caller](Turn& turn) {
        absl::Status status = CheckRegistration(*request);
        if (!status.ok()) return status;
        *response = turn.cluster.Register(*request, turn.now);
        Audit(caller, "WorkerService/RegisterWorker", WorkerName(request->worker()), &turn);
        return status;
      },
      [=](const absl::Status& status, const Turn&) {
        if (status.ok()) LogInfo("worker registered", {{"worker", request->worker()}, {"slots", request->slots()}});
        reactor->Finish(ToGrpc(status));
      });
  return reactor;
}

grpc::ServerUnaryReactor* WorkerService::Heartbeat(grpc::CallbackServerContext* context,
                                                   const v1::HeartbeatRequest* request,
                                                   v1::HeartbeatResponse* response) {
  const absl::StatusOr<Caller> caller = AdmitWorker(*context, "WorkerService/Heartbeat", *request);
  if (!caller.ok()) return FinishWith(context, caller.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Note(
      [=](Turn& turn) {
        absl::StatusOr<v1::HeartbeatResponse> reply = turn.cluster.Heartbeat(*request, turn.now);
        if (reply.ok()) *response = *std::move(reply);
        return reply.status();
      },
      [=](const absl::Status& status, const Turn&) { reactor->Finish(ToGrpc(status)); });
  return reactor;
}

grpc::ServerUnaryReactor* WorkerService::AcquireTask(grpc::CallbackServerContext* context,
                                                     const v1::AcquireTaskRequest* request,
                                                     v1::AcquireTaskResponse* response) {
  const absl::StatusOr<Caller> caller = AdmitWorker(*context, "WorkerService/AcquireTask", *request);
  if (!caller.ok()) return FinishWith(context, caller.status());
  return new AcquireCall(core_, access_, data_roots_, *caller, *request, response);
}

grpc::ServerUnaryReactor* WorkerService::ReportTask(grpc::CallbackServerContext* context,
                                                    const v1::ReportTaskRequest* request,
                                                    v1::ReportTaskResponse* response) {
  const absl::StatusOr<Caller> caller = AdmitWorker(*context, "WorkerService/ReportTask", *request);
  if (!caller.ok()) return FinishWith(context, caller.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto traceparent = std::make_shared<std::string>();
  core_->Change(
      [=, this](Turn& turn) {
        // Before the report, which may end the job.
        const Job* const job = turn.cluster.jobs().Find(request->attempt().job());
        if (job != nullptr) *traceparent = job->proto().traceparent();
        absl::Status status = ReportIn(*request, turn);
        if (status.ok() && request->has_outcome()) {
          logs_.Conclude(request->attempt(), request->worker(), turn);
        }
        return status;
      },
      [=](const absl::Status& status, const Turn&) {
        const v1::AttemptId& attempt = request->attempt();
        LogInfo("attempt reported", {{"job", attempt.job()},
                                     {"task", attempt.task()},
                                     {"epoch", attempt.epoch()},
                                     {"result", status.ok() ? "OK" : std::string(status.message())},
                                     {kTraceparentKey, *traceparent}});
        reactor->Finish(ToGrpc(status));
      });
  return reactor;
}

grpc::ServerUnaryReactor* WorkerService::PushLogs(grpc::CallbackServerContext* context,
                                                  const v1::PushLogsRequest* request, v1::PushLogsResponse* response) {
  const absl::StatusOr<Caller> caller = AdmitWorker(*context, "WorkerService/PushLogs", *request);
  if (!caller.ok()) return FinishWith(context, caller.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Change(
      [=, this](Turn& turn) {
        REGROUP_RETURN_IF_ERROR(turn.cluster.CheckSession(request->worker(), request->incarnation()));
        REGROUP_RETURN_IF_ERROR(CheckReports(*request, turn));
        for (const v1::AttemptReport& report : request->reports()) TakeReport(report, request->worker(), turn);
        return absl::OkStatus();
      },
      [=](const absl::Status& status, const Turn&) { reactor->Finish(ToGrpc(status)); });
  return reactor;
}

void WorkerService::TakeReport(const v1::AttemptReport& report, const std::string& worker, Turn& turn) {
  const v1::AttemptId& attempt = report.attempt();
  turn.cluster.NoteProgress(worker, report);
  // The last lines of an attempt often arrive after its end, so logs need no current epoch.
  const bool has_room = turn.changes.logs.size() + turn.changes.metrics.size() < kMostLinesPerCommit;
  const bool has_lines = report.logs_size() + report.metrics_size() > 0;
  if (!has_lines) return;
  if (!has_room || !IsPlainText(attempt.task(), kLongestWorkerId) || !attempts_.Has(worker, attempt, turn)) {
    metrics_->CountDroppedPoints(static_cast<size_t>(report.metrics_size()));
    return metrics_->CountDroppedLogs(static_cast<size_t>(report.logs_size()));
  }
  metrics_->CountDroppedLogs(logs_.Add(report, worker, turn));
  TakePoints(report, turn);
}

void WorkerService::TakePoints(const v1::AttemptReport& report, Turn& turn) {
  const v1::AttemptId& attempt = report.attempt();
  size_t dropped = 0;
  for (v1::MetricPoint point : report.metrics()) {
    if (!IsPlainText(point.metric(), kLongestWorkerId)) continue;
    point.set_task(attempt.task());
    point.set_epoch(attempt.epoch());
    if (!points_.Add(attempt, std::move(point), turn)) ++dropped;
  }
  metrics_->CountDroppedPoints(dropped);
}

}  // namespace regroup
