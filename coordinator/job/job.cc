#include "coordinator/job/job.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/job/kept_outcome.h"
#include "services/common/base/enum_words.h"
#include "services/common/base/error.h"
#include "services/common/base/final_states.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"
#include "services/common/base/task_roles.h"
#include "services/common/job_file/address.h"

namespace regroup {
namespace {

/// INVALID_ARGUMENT if the job is too large.
absl::StatusOr<std::shared_ptr<const Graph>> GraphOf(const v1::Job& job) {
  if (!job.has_model()) return std::make_shared<const Graph>(GraphBeforeInspect(job.resolved_spec()));
  REGROUP_ASSIGN_OR_RETURN(Graph graph, BuildGraph(job.resolved_spec(), job.model()));
  return std::make_shared<const Graph>(std::move(graph));
}

/// Returns the stored tasks of a job that never runs again.
std::shared_ptr<const Graph> GraphOfStoredTasks(const v1::Job& job) {
  auto graph = std::make_shared<Graph>(GraphBeforeInspect(job.resolved_spec()));
  graph->tasks.clear();
  for (const v1::Task& task : job.tasks()) {
    graph->tasks.push_back({.id = std::string(LastSegment(task.name())),
                            .kind = task.kind(),
                            .ranks = task.ranks(),
                            .layer = task.layer()});
  }
  return graph;
}

absl::Status WrongState(const std::string& message) {
  return MakeError(absl::StatusCode::kFailedPrecondition, v1::WRONG_STATE, message);
}

v1::Failure MakeFailure(v1::FailureClass failure_class, const std::string& message) {
  v1::Failure failure;
  failure.set_failure_class(failure_class);
  failure.set_message(message);
  return failure;
}

bool IsLoss(v1::FailureClass failure_class) {
  return failure_class == v1::FAILURE_CLASS_INFRA || failure_class == v1::FAILURE_CLASS_HANG;
}

/// Takes the times that count from the messages, where an older version, which counted by them, stored the record.
void FillInTimes(JobRecord* record) {
  const v1::Job& job = record->job;
  if (job.has_start_time() && !IsSet(record->run_start)) record->run_start = FromProto(job.start_time());
  for (int i = 0; i < job.tasks_size(); ++i) {
    RetryState& retry = record->retries[static_cast<size_t>(i)];
    const v1::Task& task = job.tasks(i);
    if (!task.has_start_time() || IsSet(retry.started)) continue;
    retry.started = FromProto(task.start_time());
    if (task.state() == v1::TASK_STATE_SUCCEEDED) retry.took = FromProto(task.end_time()) - retry.started;
  }
}

}  // namespace

void JobRecord::MoveToClock(Duration ahead) {
  if (IsSet(run_start)) run_start += ahead;
  if (IsSet(pause_start)) pause_start += ahead;
  for (RetryState& retry : retries) {
    if (IsSet(retry.not_before)) retry.not_before += ahead;
    if (IsSet(retry.started)) retry.started += ahead;
  }
}

Job::Job(JobRecord record, std::shared_ptr<const Graph> graph)
    : id_(LastSegment(record.job.name())), record_(std::move(record)), graph_(std::move(graph)) {}

Job Job::Create(const std::string& id, const v1::JobSpec& spec, const v1::JobSpec& resolved, Time now,
                const std::string& owner, const std::string& traceparent) {
  JobRecord record;
  record.job.set_name(JobName(id));
  *record.job.mutable_spec() = spec;
  *record.job.mutable_resolved_spec() = resolved;
  record.job.set_state(v1::JOB_STATE_QUEUED);
  *record.job.mutable_create_time() = ToProto(now);
  record.job.set_owner(owner);
  record.job.set_traceparent(traceparent);
  auto graph = std::make_shared<const Graph>(GraphBeforeInspect(resolved));
  Job job(std::move(record), std::move(graph));
  job.ExpandGraph();
  return job;
}

absl::StatusOr<Job> Job::Restore(JobRecord record, Time now) {
  const absl::StatusOr<std::shared_ptr<const Graph>> built = GraphOf(record.job);
  const std::shared_ptr<const Graph> graph = built.ok() ? *built : GraphOfStoredTasks(record.job);
  const auto is_same = [](const v1::Task& task, const TaskNode& node) { return LastSegment(task.name()) == node.id; };
  const bool fits =
      record.retries.size() == graph->tasks.size() && std::equal(record.job.tasks().begin(), record.job.tasks().end(),
                                                                 graph->tasks.begin(), graph->tasks.end(), is_same);
  if (!fits) {
    return absl::InternalError(
        fmt::format("the tasks of {} are not those this version of Regroup would run", record.job.name()));
  }
  FillInTimes(&record);
  Job job(std::move(record), graph);
  job.can_run_ = built.status();
  if (!built.ok() && !job.IsFinal()) {
    job.FailForGood(MakeFailure(v1::FAILURE_CLASS_USER, std::string(built.status().message())));
    job.Settle(now);
  }
  return job;
}

// Events.

int64_t Job::Start(size_t task, const std::vector<WorkerRanks>& workers, Time now) {
  v1::Task& started = MutableTask(task);
  started.set_state(v1::TASK_STATE_RUNNING);
  started.set_epoch(started.epoch() + 1);
  started.set_worker(WorkerName(workers.front().worker));
  started.set_ranks(0);
  started.clear_shares();
  for (const WorkerRanks& share : workers) {
    started.set_ranks(started.ranks() + share.ranks);
    if (workers.size() == 1) break;
    started.add_shares()->set_worker(WorkerName(share.worker));
    started.mutable_shares()->rbegin()->set_ranks(share.ranks);
  }
  *started.mutable_start_time() = ToProto(now);
  // The first start of a task that an older version started is not known.
  if (started.epoch() == 1) *started.mutable_first_start_time() = started.start_time();
  started.clear_end_time();
  record_.retries[task].started = now;
  if (!proto().has_start_time()) {
    *record_.job.mutable_start_time() = ToProto(now);
    record_.run_start = now;
  }
  Settle(now);
  return started.epoch();
}

int64_t Job::Start(size_t task, const std::string& worker, Time now) {
  return Start(task, std::vector<WorkerRanks>{{worker, graph_->tasks[task].ranks}}, now);
}

void Job::Finish(size_t task, const v1::TaskOutcome& outcome, const Reached& reached, Time now) {
  *MutableTask(task).mutable_end_time() = ToProto(now);
  if (EndedForPause(outcome)) {
    MutableTask(task).set_state(IsWindingDown() ? v1::TASK_STATE_CANCELLED : v1::TASK_STATE_READY);
    MutableTask(task).clear_failure();
    record_.retries[task].not_before = now + kShortestPause;
  } else if (!outcome.has_failure()) {
    record_.retries[task].took = now - record_.retries[task].started;
    Succeed(task, outcome);
  } else if (IsWindingDown()) {
    MutableTask(task).set_state(v1::TASK_STATE_CANCELLED);
  } else {
    Fail(task, outcome.failure(), reached, now);
  }
  Settle(now);
}

void Job::Lose(size_t task, const std::string& why, const Reached& reached, Time now) {
  v1::TaskOutcome outcome;
  *outcome.mutable_failure() = MakeFailure(v1::FAILURE_CLASS_INFRA, why);
  Finish(task, outcome, reached, now);
}

void Job::Move(size_t task, const std::string& why, Time now) {
  v1::Task& moved = MutableTask(task);
  *moved.mutable_end_time() = ToProto(now);
  *moved.mutable_failure() = MakeFailure(v1::FAILURE_CLASS_INFRA, why);
  moved.set_infrastructure_failures(moved.infrastructure_failures() + 1);
  moved.set_state(v1::TASK_STATE_READY);
  record_.retries[task].not_before = now;
  Settle(now);
}

absl::Status Job::Cancel(Time now) {
  if (IsFinal() || proto().state() == v1::JOB_STATE_CANCELLING) return absl::OkStatus();
  if (IsPublishing()) {
    return WrongState(fmt::format("{} is publishing its result and can no longer be cancelled", proto().name()));
  }
  if (HasPublishedFolder()) {
    return WrongState(
        fmt::format("{} has published its folder, and now copies it to a bucket; it can be paused, but no "
                    "longer cancelled",
                    proto().name()));
  }
  // A job that is failing keeps its failure: that is what the user has to know.
  if (!proto().has_failure()) record_.job.set_state(v1::JOB_STATE_CANCELLING);
  CancelWaitingTasks();
  Settle(now);
  return absl::OkStatus();
}

absl::Status Job::Pause(Time now) {
  record_.job.clear_gave_way_to();
  if (IsHeld()) return absl::OkStatus();
  if (IsFinal() || IsWindingDown()) {
    return WrongState(fmt::format("{} is {} and cannot be paused", proto().name(),
                                  proto().has_failure() && !IsFinal() ? "failing" : EnumWord(proto().state())));
  }
  if (IsPublishing()) {
    return WrongState(fmt::format("{} is publishing its result and can no longer be paused", proto().name()));
  }
  record_.job.set_state(v1::JOB_STATE_PAUSING);
  record_.pause_start = now;
  Settle(now);
  return absl::OkStatus();
}

absl::Status Job::GiveWayTo(const std::string& other, Time now) {
  REGROUP_RETURN_IF_ERROR(Pause(now));
  record_.job.set_gave_way_to(other);
  return absl::OkStatus();
}

absl::Status Job::Resume(Time now) {
  if (!IsHeld()) {
    return WrongState(
        fmt::format("{} is {}; only a paused job can be resumed", proto().name(), EnumWord(proto().state())));
  }
  record_.job.set_state(v1::JOB_STATE_QUEUED);
  Settle(now);
  return absl::OkStatus();
}

absl::Status Job::Retry(Time now) {
  if (proto().state() != v1::JOB_STATE_FAILED && proto().state() != v1::JOB_STATE_CANCELLED) {
    return WrongState(fmt::format("{} is {}; only a failed or cancelled job can be retried", proto().name(),
                                  EnumWord(proto().state())));
  }
  if (!can_run_.ok())
    return WrongState(fmt::format("{} cannot run: {}", proto().name(), std::string(can_run_.message())));
  const Duration ended = now - FromProto(proto().end_time());
  record_.job.clear_failure();
  record_.job.clear_start_time();
  record_.run_start = {};
  record_.job.clear_end_time();
  record_.job.set_state(v1::JOB_STATE_QUEUED);
  for (size_t task = 0; task < task_count(); ++task) {
    if (this->task(task).state() == v1::TASK_STATE_SUCCEEDED) continue;
    v1::Task& again = MutableTask(task);
    again.set_state(v1::TASK_STATE_BLOCKED);
    again.clear_failure();
    record_.retries[task] = {};
  }
  LeaveOut(ended);
  UnblockTasks();
  Settle(now);
  return absl::OkStatus();
}

void Job::EndPause(Time now) {
  if (!IsSet(record_.pause_start)) return;
  const Duration paused = std::max(Duration(0), now - record_.pause_start);
  if (IsSet(record_.run_start)) record_.run_start += paused;
  LeaveOut(paused);
  record_.pause_start = {};
  record_.job.clear_gave_way_to();
}

void Job::LeaveOut(Duration duration) {
  for (v1::Task& task : *record_.job.mutable_tasks()) {
    if (task.state() == v1::TASK_STATE_SUCCEEDED || !task.has_first_start_time()) continue;
    *task.mutable_first_start_time() = ToProto(FromProto(task.first_start_time()) + duration);
  }
}

bool Job::FailIfOverdue(Time now) {
  if (!IsOverdue(now)) return false;
  FailForGood(MakeFailure(v1::FAILURE_CLASS_USER,
                          fmt::format("the job ran for longer than resources.max_runtime_s, {} s; write a larger value",
                                      proto().resolved_spec().resources().max_runtime_s())));
  Settle(now);
  return true;
}

void Job::Succeed(size_t task, const v1::TaskOutcome& outcome) {
  MutableTask(task).set_state(v1::TASK_STATE_SUCCEEDED);
  MutableTask(task).clear_failure();
  MutableTask(task).set_outputs_sha256(outcome.outputs_sha256());
  KeepOutcome(outcome, &record_.job);
  if (this->task(task).kind() == v1::TASK_KIND_REPORT) record_.job.set_report_folder(ReportFolder(task, outcome));
  if (this->task(task).kind() == v1::TASK_KIND_INSPECT) {
    if (outcome.model().layers() <= 0) {
      return RejectModel(task,
                         MakeFailure(v1::FAILURE_CLASS_INTERNAL, "inspect succeeded without describing the model"));
    }
    absl::StatusOr<Graph> graph = BuildGraph(proto().resolved_spec(), outcome.model());
    if (!graph.ok()) {
      return RejectModel(task, MakeFailure(v1::FAILURE_CLASS_USER, std::string(graph.status().message())));
    }
    *record_.job.mutable_model() = outcome.model();
    graph_ = std::make_shared<const Graph>(*std::move(graph));
    ExpandGraph();
  }
  if (IsWindingDown()) return CancelWaitingTasks();
  UnblockTasks();
}

void Job::Fail(size_t task, v1::Failure failure, const Reached& reached, Time now) {
  if (failure.failure_class() == v1::FAILURE_CLASS_UNSPECIFIED) failure.set_failure_class(v1::FAILURE_CLASS_INTERNAL);
  if (failure.log_tail().empty()) failure.mutable_log_tail()->Assign(reached.log_tail.begin(), reached.log_tail.end());
  v1::Task& failed = MutableTask(task);
  *failed.mutable_failure() = failure;
  const bool is_loss = IsLoss(failure.failure_class());
  if (is_loss) failed.set_infrastructure_failures(failed.infrastructure_failures() + 1);

  RetryState& retry = record_.retries[task];
  // Fewer ranks need more memory each. With all of them it may go on, so that nothing is lost by waiting.
  const bool lacks_ranks =
      failure.failure_class() == v1::FAILURE_CLASS_USER && failed.ranks() < graph_->tasks[task].ranks;
  if (lacks_ranks) failed.set_too_few_ranks(failed.ranks());
  const v1::FailureClass kind = lacks_ranks ? v1::FAILURE_CLASS_INFRA : failure.failure_class();
  const std::optional<Duration> pause = PauseBeforeRetry(kind, CheckpointAt(task, reached.done), &retry);
  if (pause) {
    failed.set_state(v1::TASK_STATE_READY);
    retry.not_before = now + *pause;
    return;
  }
  failed.set_state(v1::TASK_STATE_FAILED);
  const std::string what = is_loss ? fmt::format(" after {} restarts without progress", kRestartsWithoutProgress) : "";
  failure.set_message(fmt::format("task {} failed{}: {}", graph_->tasks[task].id, what, failure.message()));
  FailForGood(failure);
}

bool Job::EndedForPause(const v1::TaskOutcome& outcome) const {
  return outcome.paused() || (IsHeld() && outcome.has_failure() && IsLoss(outcome.failure().failure_class()));
}

void Job::FailForGood(const v1::Failure& failure) {
  if (!proto().has_failure()) *record_.job.mutable_failure() = failure;
  CancelWaitingTasks();
}

void Job::RejectModel(size_t task, const v1::Failure& failure) {
  MutableTask(task).set_state(v1::TASK_STATE_FAILED);
  *MutableTask(task).mutable_failure() = failure;
  FailForGood(failure);
}

// Tasks.

void Job::ExpandGraph() {
  for (size_t position = task_count(); position < graph_->tasks.size(); ++position) AppendTask(position);
  UnblockTasks();
}

void Job::AppendTask(size_t position) {
  const TaskNode& node = graph_->tasks[position];
  v1::Task& task = *record_.job.add_tasks();
  task.set_name(TaskName(id_, node.id));
  task.set_kind(node.kind);
  task.set_state(v1::TASK_STATE_BLOCKED);
  task.set_ranks(node.ranks);
  task.set_layer(node.layer);
  task.set_layers(node.layers);
  task.set_arm(node.arms.empty() ? 0 : node.arms.front());
  record_.retries.emplace_back();
}

void Job::UnblockTasks() {
  // Many tasks share a list.
  std::vector<std::optional<bool>> met(graph_->needs.size());
  for (size_t task = 0; task < task_count(); ++task) {
    if (this->task(task).state() != v1::TASK_STATE_BLOCKED) continue;
    std::optional<bool>& needs_are_met = met[graph_->tasks[task].needs];
    if (!needs_are_met) needs_are_met = NeedsAreMet(task);
    if (*needs_are_met) MutableTask(task).set_state(v1::TASK_STATE_READY);
  }
}

void Job::CancelWaitingTasks() {
  for (v1::Task& task : *record_.job.mutable_tasks()) {
    const bool waits = task.state() == v1::TASK_STATE_BLOCKED || task.state() == v1::TASK_STATE_READY;
    if (waits) task.set_state(v1::TASK_STATE_CANCELLED);
  }
}

bool Job::NeedsAreMet(size_t task) const {
  const std::vector<size_t>& needs = graph_->NeedsOf(task);
  return std::all_of(needs.begin(), needs.end(),
                     [this](size_t need) { return this->task(need).state() == v1::TASK_STATE_SUCCEEDED; });
}

/// Training resumes from a checkpoint and transfers from the last byte; every other task starts over and so makes no
/// progress by restarting.
int64_t Job::CheckpointAt(size_t task, int64_t done) const {
  const v1::TaskKind kind = this->task(task).kind();
  if (kind == v1::TASK_KIND_FETCH || kind == v1::TASK_KIND_UPLOAD) return done;
  if (kind != v1::TASK_KIND_FINETUNE) return 0;
  const int32_t interval = proto().resolved_spec().finetune().checkpoint_every_steps();
  return interval > 0 ? done / interval : 0;
}

std::string Job::ReportFolder(size_t task, const v1::TaskOutcome& outcome) const {
  if (!outcome.publication().published().empty()) return outcome.publication().published() + "/regroup";
  if (!outcome.report_folder().empty()) return outcome.report_folder();
  return ResultFolder(task);
}

std::string Job::ResultFolder(size_t task) const {
  return fmt::format("jobs/{}/{}/{}/out", id_, graph_->tasks[task].id, this->task(task).epoch());
}

// The job's own state.

void Job::Settle(Time now) {
  if (IsFinal()) return;
  record_.job.set_state(NextState());
  if (!IsHeld()) EndPause(now);
  if (IsFinal()) *record_.job.mutable_end_time() = ToProto(now);
}

v1::JobState Job::NextState() const {
  const bool runs = HasTaskIn(v1::TASK_STATE_RUNNING);
  if (!runs && AllTasksSucceeded() && !proto().has_failure()) return v1::JOB_STATE_SUCCEEDED;
  if (!runs && proto().has_failure()) return v1::JOB_STATE_FAILED;
  if (proto().state() == v1::JOB_STATE_CANCELLING) return runs ? v1::JOB_STATE_CANCELLING : v1::JOB_STATE_CANCELLED;
  if (IsHeld()) return runs ? v1::JOB_STATE_PAUSING : v1::JOB_STATE_PAUSED;
  if (!proto().has_start_time()) return v1::JOB_STATE_QUEUED;
  return IsRecovering() ? v1::JOB_STATE_RECOVERING : v1::JOB_STATE_RUNNING;
}

bool Job::HasTaskIn(v1::TaskState state) const {
  return std::any_of(proto().tasks().begin(), proto().tasks().end(),
                     [state](const v1::Task& task) { return task.state() == state; });
}

bool Job::AllTasksSucceeded() const {
  return std::all_of(proto().tasks().begin(), proto().tasks().end(),
                     [](const v1::Task& task) { return task.state() == v1::TASK_STATE_SUCCEEDED; });
}

bool Job::IsRecovering() const {
  return std::any_of(proto().tasks().begin(), proto().tasks().end(),
                     [](const v1::Task& task) { return task.state() == v1::TASK_STATE_READY && task.has_failure(); });
}

// Questions.

std::optional<size_t> Job::FindTask(const std::string& task_id) const {
  for (size_t task = 0; task < task_count(); ++task) {
    if (graph_->tasks[task].id == task_id) return task;
  }
  return std::nullopt;
}

bool Job::IsFinal() const { return IsFinalState(proto().state()); }

bool Job::IsHeld() const {
  const bool is_paused = proto().state() == v1::JOB_STATE_PAUSING || proto().state() == v1::JOB_STATE_PAUSED;
  return is_paused && !proto().has_failure();
}

bool Job::IsPublishing() const {
  if (!record_.publication_granted) return false;
  const std::optional<size_t> report = FindTask(kReportRole);
  return !report || task(*report).state() != v1::TASK_STATE_SUCCEEDED;
}

bool Job::HasPublishedFolder() const {
  return record_.publication_granted && !IsAddress(proto().resolved_spec().output().checkpoint());
}

bool Job::IsOverdue(Time now) const {
  const int64_t limit_s = proto().resolved_spec().resources().max_runtime_s();
  if (IsFinal() || IsWindingDown() || IsHeld() || IsPublishing()) return false;
  return limit_s > 0 && proto().has_start_time() && now - record_.run_start > std::chrono::seconds(limit_s);
}

std::vector<size_t> Job::ReadyTasks(Time now) const {
  if (IsHeld()) return {};
  std::vector<size_t> ready = TasksIn(v1::TASK_STATE_READY);
  std::erase_if(ready, [&](size_t task) { return record_.retries[task].not_before > now; });
  return ready;
}

std::vector<size_t> Job::TasksIn(v1::TaskState state) const {
  std::vector<size_t> found;
  for (size_t task = 0; task < task_count(); ++task) {
    if (this->task(task).state() == state) found.push_back(task);
  }
  return found;
}

std::vector<size_t> Job::TasksChangedSince(const std::optional<Job>& before) const {
  // Whenever a task changes, its state or its epoch does, or a pause was left out of its time.
  const auto is_same = [&](size_t task) {
    if (!before || task >= before->task_count()) return false;
    const v1::Task& then = before->task(task);
    const v1::Task& now = this->task(task);
    return then.state() == now.state() && then.epoch() == now.epoch() &&
           FromProto(then.first_start_time()) == FromProto(now.first_start_time());
  };
  std::vector<size_t> changed;
  for (size_t task = 0; task < task_count(); ++task) {
    if (!is_same(task)) changed.push_back(task);
  }
  return changed;
}

bool Job::HasChangedSince(const std::optional<Job>& before) const {
  return !before || before->proto().state() != proto().state() ||
         before->proto().gave_way_to() != proto().gave_way_to() ||
         before->proto().has_failure() != proto().has_failure() ||
         before->record_.publication_granted != record_.publication_granted || !TasksChangedSince(before).empty();
}

std::vector<WorkerRanks> WorkersOf(const v1::Task& task) {
  std::vector<WorkerRanks> workers;
  for (const v1::WorkerShare& share : task.shares()) workers.push_back({LastSegment(share.worker()), share.ranks()});
  if (workers.empty() && !task.worker().empty()) workers.push_back({LastSegment(task.worker()), task.ranks()});
  return workers;
}

bool RunsOn(const v1::Task& task, const std::string& worker) {
  const std::vector<WorkerRanks> workers = WorkersOf(task);
  return std::any_of(workers.begin(), workers.end(), [&](const WorkerRanks& share) { return share.worker == worker; });
}

}  // namespace regroup
