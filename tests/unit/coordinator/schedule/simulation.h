// Simulates random lives of a cluster from seeds: workers crash, lose contact and come back, messages get lost or
// arrive late, the coordinator restarts and commits of its store fail. After every step the promises of the service
// must hold; at the end, when nothing fails any more, every job must end.
//
// A life may also have a realistic defect of the coordinator. The checks must detect it, which tests the test.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "coordinator/job/assignment.h"
#include "coordinator/schedule/cluster.h"
#include "services/common/base/error.h"
#include "services/common/base/final_states.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"
#include "tests/unit/coordinator/builders.h"
#include "tests/unit/coordinator/schedule/defect.h"

namespace regroup {

inline constexpr int kStepsPerSeed = 300;
inline constexpr Duration kLease = std::chrono::seconds(10);
inline constexpr Duration kLongestQuietEnd = std::chrono::hours(3);

/// A worker with processes. As promised, it ends them if its heartbeats were not answered for a lease.
struct SimulatedWorker : FakeWorker {
  using FakeWorker::FakeWorker;
  Time heard{};
  bool is_reachable = true;
};

class Simulation {
 public:
  explicit Simulation(uint32_t seed, Defect defect = Defect::kNone) : random_(seed), defect_(defect) {
    for (int i = 0; i < 3; ++i) workers_.emplace_back(fmt::format("w{}", i), 1 + Pick(3));
    // Enough that one can be slower than the others, in a third of the lives.
    layers_ = Chance(0.33) ? 6 : 2;
    // In half of the lives gangs may be spread.
    if (Chance(0.5)) {
      for (SimulatedWorker& worker : workers_) worker.gang_address = worker.id + ":7448";
    }
  }

  void Run() {
    for (int step = 0; step < kStepsPerSeed && violations_.empty(); ++step) {
      now_ += std::chrono::milliseconds(Pick(1500));
      Fence();
      RandomStep();
      cluster_.Tick(now_);
      Commit(Chance(0.03));
    }
    RunQuietly();
  }

  /// Violated promises; empty in a correct life.
  const std::vector<std::string>& violations() const { return violations_; }
  /// Number of jobs that ended in each final state.
  const std::map<v1::JobState, int>& ends() const { return ends_; }
  /// Number of jobs that were cancelled when they might already have published.
  int late_cancels() const { return late_cancels_; }
  /// Number of attempts that were taken from slow workers.
  int moves() const { return moves_; }
  /// Number of them that trained layers.
  int layerwise_moves() const { return layerwise_moves_; }
  /// Number of attempts that started with fewer ranks than the job asks for.
  int shrunk() const { return shrunk_; }
  /// Number of changes after which a job was paused.
  int paused() const { return paused_; }
  /// Number of times that a job gave way to another.
  int gave_way() const { return gave_way_; }

 private:
  bool Has(Defect defect) const { return defect_ == defect; }
  void Check(bool holds, const std::string& promise) {
    if (!holds) violations_.push_back(promise);
  }

  int Pick(int below) { return static_cast<int>(random_() % static_cast<uint32_t>(below)); }
  bool Chance(double probability) { return std::uniform_real_distribution<double>()(random_) < probability; }
  SimulatedWorker& AnyWorker() { return workers_[static_cast<size_t>(Pick(static_cast<int>(workers_.size())))]; }

  void RandomStep() {
    for (SimulatedWorker& worker : workers_) {
      if (Chance(0.3)) Beat(worker);
      if (Chance(0.3)) Ask(worker);
      if (Chance(0.2)) EndAny(worker, Chance(0.1));
    }
    switch (Pick(20)) {
      case 0:
      case 1:
        return Submit();
      case 2:
        return CancelAny();
      case 3:
        return RetryAny();
      case 4:
        return Crash(AnyWorker());
      case 5:
        AnyWorker().is_reachable = Chance(0.7);
        return;
      case 6:
      case 7:
        return RepeatOldReport();
      case 8:
        return RestartCoordinator();
      case 9:
        return Drain(AnyWorker().id, Chance(0.3));
      case 10:
        return ForgeReport();
      case 11:
        return ForgeProgress();
      case 12:
      case 13:
        return PauseAny();
      case 14:
      case 15:
        return ResumeAny();
      default:
        return;
    }
  }

  // Actions of users.

  void Submit() {
    if (cluster_.jobs().size() > 4) return;
    v1::JobSpec spec = SmallSpec();
    spec.mutable_finetune()->set_ranks(1 + Pick(workers_[0].gang_address.empty() ? 2 : 4));
    if (Chance(0.5)) spec.mutable_finetune()->set_min_ranks(1);
    spec.mutable_resources()->set_priority(Pick(3));
    if (Chance(0.5)) MakeShort(&spec);
    if (layers_ > 2 && Chance(0.5)) spec.mutable_layerwise()->set_method("distill");
    cluster_.AddJob(MakeJob(fmt::format("job-{}", ++jobs_submitted_), spec, now_, Chance(0.5) ? "alice" : "bob"));
  }

  /// Few tasks, so that many lives reach the end of a job.
  static void MakeShort(v1::JobSpec* spec) {
    spec->clear_calibration();
    spec->clear_evaluation();
    spec->mutable_finetune()->set_method("none");
  }

  std::string AnyJob() {
    if (durable_.empty()) return "none";
    auto job = durable_.begin();
    std::advance(job, Pick(static_cast<int>(durable_.size())));
    return job->first;
  }

  void CancelAny() {
    if (cluster_.jobs().size() == 0 || Chance(0.7)) return;
    auto job = cluster_.jobs().begin();
    std::advance(job, Pick(static_cast<int>(cluster_.jobs().size())));
    const bool may_have_published = job->second.record().publication_granted && !job->second.IsFinal();
    const absl::Status status = cluster_.CancelJob(job->first, now_);
    Check((ReasonOf(status) == v1::WRONG_STATE) == may_have_published,
          "a job that may have published is not cancelled");
    if (may_have_published) ++late_cancels_;
  }

  /// Returns any unfinished job, or null.
  const Job* AnyUnfinished() {
    if (cluster_.jobs().size() == 0) return nullptr;
    auto job = cluster_.jobs().begin();
    std::advance(job, Pick(static_cast<int>(cluster_.jobs().size())));
    return &job->second;
  }

  void PauseAny() {
    const Job* job = AnyUnfinished();
    if (job == nullptr || Chance(0.5)) return;
    const std::string id = job->id();
    const bool may_have_published = job->record().publication_granted && !job->IsFinal();
    const bool can_pause = job->IsHeld() || (!job->IsFinal() && !job->IsWindingDown() && !may_have_published);
    Check(cluster_.PauseJob(id, now_).ok() == can_pause, "a job is paused unless it ends or may have published");
  }

  void ResumeAny() {
    const Job* job = AnyUnfinished();
    if (job == nullptr) return;
    const bool is_held = job->IsHeld();
    Check(cluster_.ResumeJob(job->id(), now_).ok() == is_held, "a job is resumed if it is paused");
  }

  void RetryAny() {
    const std::string id = AnyJob();
    const auto stored = durable_.find(id);
    if (stored == durable_.end() || cluster_.jobs().Find(id) != nullptr) return;
    Job job = Job::Restore(Has(Defect::kRetriesFinishedTasks) ? WithoutSuccess(stored->second) : stored->second, now_)
                  .value();
    if (!job.Retry(now_).ok()) return;
    retried_.insert(id);
    // With the job, the coordinator forgot which tasks it had moved.
    std::erase_if(moved_, [&](const std::string& task) { return task.starts_with(JobName(id) + "/"); });
    cluster_.AddJob(std::move(job));
  }

  void Drain(const std::string& worker, bool draining) {
    if (Has(Defect::kGivesTasksToDrainingWorkers)) {
      if (cluster_.workers().Find(worker) == nullptr) return;
    } else if (!cluster_.SetDraining(worker, draining).ok()) {
      return;
    }
    drains_to_come_[worker] = draining;
  }

  // Actions of workers.

  void Beat(SimulatedWorker& worker) {
    if (!worker.is_reachable) return;
    const absl::StatusOr<v1::HeartbeatResponse> response = cluster_.Heartbeat(HeartbeatOf(worker), now_);
    if (!response.ok()) return Register(worker);
    Heard(worker, response->stop());
    for (const v1::AttemptId& attempt : response->pause()) {
      if (Chance(0.3)) EndForPause(worker, attempt);
    }
  }

  v1::HeartbeatRequest HeartbeatOf(const SimulatedWorker& worker) const {
    v1::HeartbeatRequest request = worker.Heartbeat();
    if (Has(Defect::kDoesNotWaitForSlowWorkers)) RemoveMoved(request.mutable_running());
    if (!Has(Defect::kTrustsItsOwnList)) return request;
    request.clear_running();
    for (const auto& [id, job] : cluster_.jobs()) {
      for (const size_t task : job.RunningTasks()) {
        for (const WorkerRanks& share : WorkersOf(job.task(task))) {
          if (share.worker == worker.id) *request.add_running() = CurrentAttempt(job, task);
        }
      }
    }
    return request;
  }

  void RemoveMoved(google::protobuf::RepeatedPtrField<v1::AttemptId>* running) const {
    google::protobuf::RepeatedPtrField<v1::AttemptId> kept;
    for (const v1::AttemptId& attempt : *running) {
      const Job* job = cluster_.jobs().Find(attempt.job());
      const std::optional<size_t> task = job != nullptr ? job->FindTask(attempt.task()) : std::nullopt;
      if (!task || !IsMoved(job->task(*task))) *kept.Add() = attempt;
    }
    running->Swap(&kept);
  }

  void Register(SimulatedWorker& worker) {
    v1::RegisterWorkerRequest request = worker.Registration();
    if (Has(Defect::kOverbooksWorkers)) request.set_slots(request.slots() + 1);
    const v1::RegisterWorkerResponse response = cluster_.Register(request, now_);
    Heard(worker, response.stop());
  }

  template <typename List>
  void Heard(SimulatedWorker& worker, const List& stop) {
    worker.heard = now_;
    for (const v1::AttemptId& attempt : stop) EndProcess(worker, attempt);
  }

  /// Only a lead reports the outcome; a helper's part ends with it.
  void EndForPause(SimulatedWorker& worker, const v1::AttemptId& attempt) {
    const v1::Task* task = TaskOf(attempt);
    const bool is_listed = std::any_of(worker.running.begin(), worker.running.end(), [&](const v1::AttemptId& other) {
      return other.SerializeAsString() == attempt.SerializeAsString();
    });
    if (task == nullptr || !is_listed || LastSegment(task->worker()) != worker.id) return;
    EndProcess(worker, attempt);
    v1::TaskOutcome outcome;
    outcome.set_paused(true);
    sent_.push_back(worker.Report(attempt, outcome));
    (void)Deliver(sent_.back());
  }

  void EndProcess(SimulatedWorker& worker, const v1::AttemptId& attempt) {
    std::erase_if(worker.running, [&](const v1::AttemptId& other) {
      return other.job() == attempt.job() && other.task() == attempt.task() && other.epoch() == attempt.epoch();
    });
  }

  void Crash(SimulatedWorker& worker) {
    worker.running.clear();
    ++worker.incarnation;
  }

  void Ask(SimulatedWorker& worker) {
    if (!worker.is_reachable) return;
    if (cluster_.Acquire(worker.Acquire(worker.slots), ++ticket_, now_).ok()) tickets_[ticket_] = &worker;
  }

  void EndAny(SimulatedWorker& worker, bool fails) {
    if (worker.running.empty()) return;
    const v1::AttemptId attempt = worker.running[static_cast<size_t>(Pick(static_cast<int>(worker.running.size())))];
    // Time passes between the permission to publish and the end of the attempt.
    if (attempt.task() == "report" && worker.is_reachable && Chance(0.5)) {
      (void)cluster_.Report(worker.AskToPublish(attempt), now_);
      return;
    }
    EndProcess(worker, attempt);
    const auto failure = static_cast<v1::FailureClass>(1 + Pick(6));
    v1::TaskOutcome outcome = fails                         ? FailureOf(failure)
                              : attempt.task() == "inspect" ? InspectSuccess(SmallModel(layers_))
                                                            : Success();
    if (!fails) outcome.set_outputs_sha256(DigestOf(attempt.job(), attempt.task(), std::to_string(attempt.epoch())));
    const v1::ReportTaskRequest report = worker.Report(attempt, outcome);
    sent_.push_back(report);
    if (worker.is_reachable) (void)Deliver(report);
  }

  /// Stands for the digest of what an attempt wrote.
  static std::string DigestOf(const std::string& job, const std::string& task, const std::string& epoch) {
    return fmt::format("digest of jobs/{}/{}/{}/out", job, task, epoch);
  }

  /// As promised, a worker that is not registered does so and reports again. A report task succeeds only after it was
  /// allowed to publish.
  absl::Status Deliver(v1::ReportTaskRequest report) {
    if (Has(Defect::kAcceptsOldEpochs)) MakeCurrent(&report);
    const absl::Status status = Send(report);
    if (ReasonOf(status) != v1::WORKER_NOT_REGISTERED) return status;
    for (SimulatedWorker& worker : workers_) {
      if (worker.id != report.worker() || worker.incarnation != report.incarnation() || !worker.is_reachable) continue;
      Register(worker);
      return Send(report);
    }
    return status;
  }

  absl::Status Send(v1::ReportTaskRequest report) {
    if (Has(Defect::kAcceptsAnyIncarnation)) report.set_incarnation(IncarnationOf(report.worker()));
    if (Has(Defect::kAcceptsAnyWorker)) MakeOwn(&report);
    if (report.attempt().task() == "report" && !report.outcome().has_failure()) {
      v1::ReportTaskRequest question = report;
      question.set_asks_to_publish(true);
      REGROUP_RETURN_IF_ERROR(cluster_.Report(question, now_));
    }
    return cluster_.Report(report, now_);
  }

  void MakeCurrent(v1::ReportTaskRequest* report) const {
    const Job* job = cluster_.jobs().Find(report->attempt().job());
    const std::optional<size_t> task = job != nullptr ? job->FindTask(report->attempt().task()) : std::nullopt;
    if (!task) return;
    report->mutable_attempt()->set_epoch(job->task(*task).epoch());
    report->set_worker(LastSegment(job->task(*task).worker()));
    report->set_incarnation(IncarnationOf(report->worker()));
  }

  uint64_t IncarnationOf(const std::string& id) const {
    for (const SimulatedWorker& worker : workers_) {
      if (worker.id == id) return worker.incarnation;
    }
    return 0;
  }

  /// Puts the name of the worker that runs the attempt into the report.
  void MakeOwn(v1::ReportTaskRequest* report) const {
    const v1::Task* task = TaskOf(report->attempt());
    if (task == nullptr || RunsOn(*task, report->worker())) return;
    report->set_worker(LastSegment(task->worker()));
    report->set_incarnation(IncarnationOf(report->worker()));
  }

  const v1::Task* TaskOf(const v1::AttemptId& attempt) const {
    const Job* job = cluster_.jobs().Find(attempt.job());
    const std::optional<size_t> task = job != nullptr ? job->FindTask(attempt.task()) : std::nullopt;
    return task ? &job->task(*task) : nullptr;
  }

  /// Returns a running attempt of any job, if there is one.
  std::optional<v1::AttemptId> AnyAttempt() {
    std::vector<v1::AttemptId> running;
    for (const auto& [id, job] : cluster_.jobs()) {
      for (const size_t task : job.RunningTasks()) running.push_back(CurrentAttempt(job, task));
    }
    if (running.empty()) return std::nullopt;
    return running[static_cast<size_t>(Pick(static_cast<int>(running.size())))];
  }

  /// Reports the end of an attempt as another worker, or as a process that never registered.
  void ForgeReport() {
    const std::optional<v1::AttemptId> attempt = AnyAttempt();
    if (!attempt) return;
    const v1::Task before = *TaskOf(*attempt);
    SimulatedWorker forger = AnyWorker();
    if (RunsOn(before, forger.id)) forger.incarnation += 1000;
    const absl::Status status = Send(forger.Report(*attempt, InspectSuccess(SmallModel(layers_))));
    const v1::Task* after = TaskOf(*attempt);
    const bool is_same = after != nullptr && after->SerializeAsString() == before.SerializeAsString();
    Check(!status.ok() && is_same, "an attempt is ended by its own worker only");
  }

  void ForgeProgress() {
    const std::optional<v1::AttemptId> attempt = AnyAttempt();
    if (!attempt) return;
    const v1::Task& task = *TaskOf(*attempt);
    const std::string forger = AnyWorker().id;
    if (RunsOn(task, forger)) return;
    v1::AttemptReport report;
    *report.mutable_attempt() = *attempt;
    report.mutable_progress()->set_phase("forged");
    cluster_.NoteProgress(Has(Defect::kAcceptsProgressOfAnyWorker) ? LastSegment(task.worker()) : forger, report);
    const Job& job = *cluster_.jobs().Find(attempt->job());
    const v1::Progress* progress = cluster_.ProgressOf(job, *job.FindTask(attempt->task()));
    Check(progress == nullptr || progress->phase() != "forged", "an attempt's progress is that of its own worker");
  }

  /// Repeats an old message: a repetition, or the report of an attempt that was given up.
  void RepeatOldReport() {
    if (sent_.empty()) return;
    const v1::ReportTaskRequest& report = sent_[static_cast<size_t>(Pick(static_cast<int>(sent_.size())))];
    const Job* job = cluster_.jobs().Find(report.attempt().job());
    if (job == nullptr) return;
    const std::optional<size_t> task = job->FindTask(report.attempt().task());
    const bool is_old = task && job->task(*task).epoch() > report.attempt().epoch();
    const absl::Status status = Deliver(report);
    const v1::ErrorReason reason = ReasonOf(status);
    Check(!is_old || reason == v1::STALE_EPOCH || reason == v1::WORKER_NOT_REGISTERED,
          "a message of an old epoch is refused");
  }

  void Fence() {
    for (SimulatedWorker& worker : workers_) {
      if (now_ >= worker.heard + kLease) worker.running.clear();
    }
  }

  // Events of the coordinator.

  void RestartCoordinator() {
    cluster_ = MakeCluster();
    tickets_.clear();
    moved_.clear();
    for (const auto& [id, record] : durable_) {
      if (IsFinalState(record.job.state())) continue;
      Check(cluster_.RestoreJob(AsRemembered(record), now_).ok(), "a job goes on after a restart");
    }
    for (const auto& [id, worker] : durable_workers_) cluster_.RestoreWorker(worker, now_);
  }

  /// Contents of the store when the coordinator starts.
  JobRecord AsRemembered(JobRecord record) const {
    if (Has(Defect::kForgetsPermissionToPublish)) record.publication_granted = false;
    for (v1::Task& task : *record.job.mutable_tasks()) {
      const bool runs = task.state() == v1::TASK_STATE_RUNNING;
      if (Has(Defect::kForgetsEpochs) && !runs) task.set_epoch(0);
      if (Has(Defect::kForgetsDigests)) task.clear_outputs_sha256();
      if (Has(Defect::kStartsAgainWhatMayRun) && runs) task.set_state(v1::TASK_STATE_READY);
    }
    return record;
  }

  /// The record that the coordinator stores for a changed job.
  JobRecord AsSealed(JobRecord record, const std::optional<Job>& before) const {
    if (Has(Defect::kLosesRevisions) && before) record.job.set_revision(before->proto().revision());
    return record;
  }

  static JobRecord WithoutSuccess(JobRecord record) {
    for (v1::Task& task : *record.job.mutable_tasks()) {
      if (task.state() == v1::TASK_STATE_SUCCEEDED) task.set_state(v1::TASK_STATE_CANCELLED);
    }
    return record;
  }

  Cluster MakeCluster() const {
    // Tasks take seconds in the simulation.
    return Cluster(ClusterOptions{.lease = Has(Defect::kEndsLeasesEarly) ? kLease / 4 : kLease,
                                  .straggler = {.floor = std::chrono::seconds(2), .factor = 2},
                                  .shrink_after = std::chrono::seconds(1),
                                  .preempts = true,
                                  .gang_secret = "secret"});
  }

  void Commit(bool store_fails) {
    cluster_.PlaceTasks(now_);
    Effects effects = cluster_.TakeEffects();
    if (store_fails) {
      drains_to_come_.clear();
      if (Has(Defect::kAnswersBeforeTheCommit)) {
        Cluster hasty = cluster_;
        for (const Answer& answer : hasty.TakeEffects().Stored()) Take(answer);
      }
      if (Has(Defect::kKeepsWhatWasNotStored)) {
        std::move(effects).Stored();
        return;
      }
      std::move(effects).NotStored();
      CheckProcesses();
      return;
    }
    for (const auto& [worker, draining] : drains_to_come_) draining_[worker] = draining;
    drains_to_come_.clear();
    for (const auto& [id, before] : effects.jobs()) Store(AsSealed(cluster_.jobs().Find(id)->record(), before));
    for (const auto& [id, before] : effects.workers()) durable_workers_[id] = *cluster_.workers().Find(id);
    for (const Answer& answer : std::move(effects).Stored()) Take(answer);
    CheckSlots();
    CheckProcesses();
  }

  /// Delivers an answer; one in twenty is lost.
  void Take(const Answer& answer) {
    if (answer.assignment) CheckInputs(*answer.assignment);
    const auto ticket = tickets_.find(answer.ticket);
    if (ticket == tickets_.end() || !answer.assignment || Chance(0.05) || !ticket->second->is_reachable) return;
    if (now_ < ticket->second->heard + kLease) ticket->second->running.push_back(answer.assignment->attempt());
  }

  // Promises that must hold.

  void Store(const JobRecord& record) {
    const std::string id = LastSegment(record.job.name());
    const auto stored = durable_.find(id);
    if (stored != durable_.end()) CheckChange(stored->second, record);
    retried_.erase(id);
    if (IsFinalState(record.job.state())) ++ends_[record.job.state()];
    durable_[id] = record;
  }

  void CheckChange(const JobRecord& before, const JobRecord& after) {
    Check(after.job.revision() == before.job.revision() + 1, "every change has the next revision");
    const bool was_retried = retried_.count(LastSegment(after.job.name())) > 0;
    const bool was_held = IsHeld(before);
    Check(IsHeld(after) == (after.pause_start != Time{}), "the start of a pause is known while it lasts");
    CheckWay(before, after);
    if (after.job.state() == v1::JOB_STATE_PAUSED) {
      ++paused_;
      for (const v1::Task& task : after.job.tasks()) {
        Check(task.state() != v1::TASK_STATE_RUNNING, "a paused job holds no slots");
      }
    }
    Check(was_retried || !IsFinalState(before.job.state()), "a final job stays as it is");
    Check(!before.publication_granted || after.job.state() != v1::JOB_STATE_CANCELLED,
          "a job that may have published does not end as cancelled");
    Check(after.publication_granted || after.job.state() != v1::JOB_STATE_SUCCEEDED,
          "a job succeeds only after it was allowed to publish");
    for (int task = 0; task < before.job.tasks_size(); ++task) {
      CheckTaskChange(before.job.tasks(task), after.job.tasks(task), was_retried, was_held && IsHeld(after));
      CheckRanks(before.job.tasks(task), after.job.tasks(task), after.job.resolved_spec().finetune());
    }
  }

  void CheckWay(const JobRecord& before, const JobRecord& after) {
    const std::string& other = after.job.gave_way_to();
    Check(other.empty() || IsHeld(after), "only a job that is paused gives way");
    if (other.empty() || other == before.job.gave_way_to()) return;
    ++gave_way_;
    const v1::Job& winner = cluster_.jobs().Find(other)->proto();
    Check(winner.resolved_spec().resources().priority() > after.job.resolved_spec().resources().priority() &&
              winner.owner() == after.job.owner(),
          "a job gives way to one of higher priority of the same owner");
  }

  void CheckRanks(const v1::Task& before, const v1::Task& after, const v1::Finetune& finetune) {
    if (after.kind() != v1::TASK_KIND_FINETUNE || before.epoch() == after.epoch()) return;
    Check(finetune.min_ranks() <= after.ranks() && after.ranks() <= finetune.ranks(), "a gang is not too small");
    if (after.ranks() == finetune.ranks()) return;
    ++shrunk_;
    Check(before.epoch() > 0, "only training that has run goes on with fewer ranks");
  }

  static bool IsHeld(const JobRecord& record) {
    return record.job.state() == v1::JOB_STATE_PAUSING || record.job.state() == v1::JOB_STATE_PAUSED;
  }

  void CheckTaskChange(const v1::Task& before, const v1::Task& after, bool was_retried, bool was_held) {
    Check(before.epoch() <= after.epoch() && after.epoch() <= before.epoch() + 1, "epochs go up one by one");
    if (before.state() == v1::TASK_STATE_SUCCEEDED) {
      Check(before.SerializeAsString() == after.SerializeAsString(), "a result is applied once");
    } else if (IsFinalState(before.state())) {
      Check(before.state() == after.state() || was_retried, "a final task stays as it is");
    }
    const bool is_lost = before.infrastructure_failures() < after.infrastructure_failures();
    if (before.state() == v1::TASK_STATE_RUNNING && is_lost && IsMoved(after) && before.epoch() == after.epoch()) {
      ++moves_;
      Check(moved_.insert(after.name()).second, "a slow task is moved once");
      const bool is_of_layers = before.kind() == v1::TASK_KIND_ALIGN || before.kind() == v1::TASK_KIND_LAYERWISE;
      Check(is_of_layers, "only layers are moved");
      if (before.kind() == v1::TASK_KIND_LAYERWISE) ++layerwise_moves_;
    }
    const bool is_started = before.epoch() < after.epoch();
    Check(!is_started || !was_held, "a paused job starts nothing");
    Check(!is_started || before.state() != v1::TASK_STATE_RUNNING, "a task has one live attempt");
    const auto draining = draining_.find(LastSegment(after.worker()));
    Check(!is_started || draining == draining_.end() || !draining->second, "a draining worker gets nothing new");
  }

  static bool IsMoved(const v1::Task& task) {
    return task.state() == v1::TASK_STATE_READY && task.failure().message().find(" was slow: ") != std::string::npos;
  }

  void CheckInputs(const v1::TaskAssignment& assignment) {
    for (const auto& [role, folder] : assignment.inputs()) {
      const auto digest = assignment.input_sha256().find(role);
      Check(digest != assignment.input_sha256().end() && digest->second == "digest of " + folder,
            "an input comes with the digest of the attempt that made it");
    }
  }

  void CheckSlots() {
    std::map<std::string, int> busy;
    for (const auto& [id, job] : cluster_.jobs()) {
      for (const size_t task : job.RunningTasks()) {
        for (const WorkerRanks& share : WorkersOf(job.task(task))) busy[share.worker] += share.ranks;
      }
    }
    for (const SimulatedWorker& worker : workers_) {
      Check(busy[worker.id] <= worker.slots, "a worker runs no more than it has slots");
    }
  }

  /// Checks that no process of an old epoch runs beside one of a newer epoch.
  void CheckProcesses() {
    std::map<std::string, std::set<int64_t>> epochs;
    for (const SimulatedWorker& worker : workers_) {
      std::set<std::string> seen;
      for (const v1::AttemptId& attempt : worker.running) {
        const std::string task = TaskName(attempt.job(), attempt.task());
        epochs[task].insert(attempt.epoch());
        const bool is_new = seen.insert(task).second;
        Check(is_new && epochs[task].size() == 1, "a task has one process: " + attempt.ShortDebugString());
      }
    }
  }

  /// Runs without faults until every job has ended.
  void RunQuietly() {
    const Time deadline = now_ + kLongestQuietEnd;
    for (SimulatedWorker& worker : workers_) {
      worker.is_reachable = true;
      worker.slots = std::max(worker.slots, 2);
      Register(worker);
      Drain(worker.id, false);
    }
    for (const auto& [id, record] : durable_) {
      const Job* job = cluster_.jobs().Find(id);
      // A job that gave way goes on by itself.
      if (job != nullptr && job->IsHeld() && job->proto().gave_way_to().empty())
        Check(cluster_.ResumeJob(id, now_).ok(), "a paused job is resumed");
    }
    Commit(false);
    while (cluster_.jobs().size() > 0 && now_ < deadline && violations_.empty()) {
      now_ += std::chrono::seconds(1);
      for (SimulatedWorker& worker : workers_) {
        Beat(worker);
        Ask(worker);
        EndAny(worker, false);
      }
      cluster_.Tick(now_);
      Commit(false);
    }
    Check(cluster_.jobs().size() == 0 || !violations_.empty(), "every job ends when nothing fails any more");
  }

  std::mt19937 random_;
  Time now_{std::chrono::seconds(100000)};
  const Defect defect_;
  std::vector<std::string> violations_;
  Cluster cluster_ = MakeCluster();
  std::vector<SimulatedWorker> workers_;
  uint64_t ticket_ = 0;
  std::map<uint64_t, SimulatedWorker*> tickets_;
  std::vector<v1::ReportTaskRequest> sent_;
  std::map<std::string, JobRecord> durable_;
  std::map<std::string, v1::Worker> durable_workers_;
  std::map<std::string, bool> draining_;
  /// Drains requested since the last commit.
  std::map<std::string, bool> drains_to_come_;
  std::set<std::string> retried_;
  int jobs_submitted_ = 0;
  std::map<v1::JobState, int> ends_;
  int late_cancels_ = 0;
  int layers_ = 2;
  int moves_ = 0;
  int layerwise_moves_ = 0;
  int shrunk_ = 0;
  int paused_ = 0;
  int gave_way_ = 0;
  /// Tasks that this coordinator has moved.
  std::set<std::string> moved_;
};

}  // namespace regroup
