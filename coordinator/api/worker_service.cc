#include "coordinator/api/worker_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "coordinator/api/requests.h"
#include "services/common/base/final_states.h"
#include "services/common/base/logging.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/status.h"

namespace regroup {
namespace {

/// Most log lines and metric points of one commit; the rest is dropped and counted.
constexpr size_t kMostLinesPerCommit = 20000;
constexpr size_t kLongestWorkerId = 63;

bool IsWorkerId(const std::string& id) {
  return !id.empty() && id.size() <= kLongestWorkerId && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::islower(c) || std::isdigit(c) || c == '-' || c == '.';
  });
}

absl::Status CheckRegistration(const v1::RegisterWorkerRequest& request) {
  std::vector<FieldViolation> violations;
  if (!IsWorkerId(request.worker())) {
    violations.push_back(Violation("worker", "write lower-case letters, digits, hyphens and dots, at most 63"));
  }
  if (request.slots() < 1) violations.push_back(Violation("slots", "write a positive number"));
  return violations.empty() ? absl::OkStatus() : InvalidFields(violations);
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

/// Returns true if the job has ended and this was the last attempt of its task: the report is then a repetition.
/// UNAVAILABLE if the store cannot tell: the worker must retry rather than discard its result.
absl::StatusOr<bool> IsRepetition(const v1::AttemptId& attempt, const Turn& turn) {
  const absl::StatusOr<JobRecord> record = turn.store.GetJob(attempt.job());
  if (absl::IsNotFound(record.status())) return false;
  if (!record.ok()) return record.status();
  return std::any_of(record->job.tasks().begin(), record->job.tasks().end(), [&](const v1::Task& task) {
    return LastSegment(task.name()) == attempt.task() && task.epoch() == attempt.epoch() && IsFinalState(task.state());
  });
}

absl::Status ReportIn(const v1::ReportTaskRequest& request, Turn& turn) {
  const absl::Status status = turn.cluster.Report(request, turn.now);
  if (!absl::IsNotFound(status) || !request.has_outcome()) return status;
  REGROUP_ASSIGN_OR_RETURN(const bool is_repetition, IsRepetition(request.attempt(), turn));
  return is_repetition ? absl::OkStatus() : status;
}

bool IsKnownJob(const std::string& job, const Turn& turn) {
  return turn.cluster.jobs().Find(job) != nullptr || turn.store.GetJob(job).ok();
}

}  // namespace

grpc::ServerUnaryReactor* WorkerService::RegisterWorker(grpc::CallbackServerContext* context,
                                                        const v1::RegisterWorkerRequest* request,
                                                        v1::RegisterWorkerResponse* response) {
  const absl::StatusOr<Caller> caller = access_->Admit(*context, "WorkerService/RegisterWorker");
  if (!caller.ok()) return FinishWith(context, caller.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Change(
      [=](Turn& turn) {
        absl::Status status = CheckRegistration(*request);
        if (status.ok()) *response = turn.cluster.Register(*request, turn.now);
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
  const absl::StatusOr<Caller> caller = access_->Admit(*context, "WorkerService/Heartbeat");
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
  const absl::StatusOr<Caller> caller = access_->Admit(*context, "WorkerService/AcquireTask");
  if (!caller.ok()) return FinishWith(context, caller.status());
  return new AcquireCall(core_, access_, data_roots_, *caller, *request, response);
}

grpc::ServerUnaryReactor* WorkerService::ReportTask(grpc::CallbackServerContext* context,
                                                    const v1::ReportTaskRequest* request,
                                                    v1::ReportTaskResponse* response) {
  const absl::StatusOr<Caller> caller = access_->Admit(*context, "WorkerService/ReportTask");
  if (!caller.ok()) return FinishWith(context, caller.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Change([=](Turn& turn) { return ReportIn(*request, turn); },
                [=](const absl::Status& status, const Turn&) {
                  const v1::AttemptId& attempt = request->attempt();
                  LogInfo("attempt reported", {{"job", attempt.job()},
                                               {"task", attempt.task()},
                                               {"epoch", attempt.epoch()},
                                               {"result", status.ToString()}});
                  reactor->Finish(ToGrpc(status));
                });
  return reactor;
}

grpc::ServerUnaryReactor* WorkerService::PushLogs(grpc::CallbackServerContext* context,
                                                  const v1::PushLogsRequest* request, v1::PushLogsResponse* response) {
  const absl::StatusOr<Caller> caller = access_->Admit(*context, "WorkerService/PushLogs");
  if (!caller.ok()) return FinishWith(context, caller.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  core_->Change(
      [=, this](Turn& turn) {
        for (const v1::AttemptReport& report : request->reports()) TakeReport(report, request->worker(), turn);
        return absl::OkStatus();
      },
      [=](const absl::Status& status, const Turn&) { reactor->Finish(ToGrpc(status)); });
  return reactor;
}

void WorkerService::TakeReport(const v1::AttemptReport& report, const std::string& worker, Turn& turn) {
  const v1::AttemptId& attempt = report.attempt();
  turn.cluster.NoteProgress(report);
  // The last lines of an attempt often arrive after its end, so logs need no current epoch, only an existing job.
  const bool has_room = turn.changes.logs.size() + turn.changes.metrics.size() < kMostLinesPerCommit;
  const bool has_lines = report.logs_size() + report.metrics_size() > 0;
  if (!has_lines) return;
  if (!has_room || !IsKnownJob(attempt.job(), turn)) {
    return metrics_->CountDroppedLogs(static_cast<size_t>(report.logs_size()));
  }
  if (!IsPlainText(attempt.task(), kLongestWorkerId)) {
    return metrics_->CountDroppedLogs(static_cast<size_t>(report.logs_size()));
  }
  for (v1::LogEntry entry : report.logs()) {
    entry.set_task(attempt.task());
    entry.set_epoch(attempt.epoch());
    entry.set_worker(worker);
    turn.changes.logs.push_back({attempt.job(), std::move(entry)});
  }
  for (v1::MetricPoint point : report.metrics()) {
    if (!IsPlainText(point.metric(), kLongestWorkerId)) continue;
    point.set_task(attempt.task());
    point.set_epoch(attempt.epoch());
    turn.changes.metrics.push_back({attempt.job(), std::move(point)});
  }
}

}  // namespace regroup
