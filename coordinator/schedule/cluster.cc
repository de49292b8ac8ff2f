// The events of the cluster and its state, in eight sections; each begins with its name in capitals. What the events
// lead to is decided in cluster_placement.cc.
//
//   STORE      loads jobs and workers at start
//   USERS      adds, cancels, pauses and resumes jobs, drains workers
//   WORKERS    keeps sessions: a worker registers, sends heartbeats, asks for tasks
//   REPORTS    takes workers' reports on attempts: which ones they run, their progress, how they ended
//   CLOCK      ends attempts without a lease, jobs that take too long, and calls that waited long enough
//   CHANGES    seals what has to be stored, and commits it or rolls it back
//   ATTEMPTS   keeps what is known of running attempts and never stored (Sighting); all other sections look it up here
//   QUESTIONS  describes jobs and workers as users see them
#include "coordinator/schedule/cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "coordinator/job/assignment.h"
#include "coordinator/schedule/attempt_set.h"
#include "services/common/base/error.h"
#include "services/common/base/final_states.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr Duration kLongestWait = std::chrono::seconds(60);
constexpr size_t kLogTailLines = 20;
/// Attempts of a worker whose last log lines are still accepted.
constexpr size_t kRememberedAttempts = 64;

absl::Status NotFound(std::string_view what, const std::string& name) {
  return MakeError(absl::StatusCode::kNotFound, v1::RESOURCE_NOT_FOUND,
                   fmt::format("there is no {} \"{}\"", what, name));
}

std::string WhyPaused(const v1::Job& job) {
  if (job.gave_way_to().empty()) return "paused until it is resumed";
  return fmt::format("gave way to job {}, which has a higher priority", job.gave_way_to());
}

absl::Status StaleEpoch(const v1::AttemptId& attempt) {
  return MakeError(absl::StatusCode::kFailedPrecondition, v1::STALE_EPOCH,
                   fmt::format("attempt {} of task {} of job {} is over; its processes must stop", attempt.epoch(),
                               attempt.task(), attempt.job()));
}

}  // namespace

// STORE

absl::Status Cluster::RestoreJob(JobRecord record, Time now) {
  const bool had_failure = record.job.has_failure();
  REGROUP_ASSIGN_OR_RETURN(Job job, Job::Restore(std::move(record), now));
  const std::string id = job.id();
  const bool is_as_stored = job.proto().has_failure() == had_failure;
  const Job& restored = jobs_.Put(id, std::move(job));
  for (const size_t task : restored.RunningTasks()) SightingOf(restored, task, now);
  NoteWhatRuns({id});
  for (const size_t task : restored.TasksIn(v1::TASK_STATE_READY)) {
    // The attempt may have been given up while its process still ran.
    for (const WorkerRanks& share : WorkersOf(restored.task(task))) {
      lingering_.push_back({share.worker, CurrentAttempt(restored, task), now + options_.lease});
    }
  }
  // A job that fails now is stored, and ends, with the first batch.
  if (is_as_stored) jobs_.Unmark(id);
  return absl::OkStatus();
}

void Cluster::RestoreWorker(v1::Worker worker, Time now) {
  const std::string id = LastSegment(worker.name());
  workers_.Put(id, std::move(worker));
  workers_.Commit();
  sessions_[id] = {.heartbeat = now, .lease_end = now + options_.lease};
}

// USERS

void Cluster::AddJob(Job job) {
  const std::string id = job.id();
  jobs_.Put(id, std::move(job));
  NoteWhatRuns({id});
}

absl::Status Cluster::CancelJob(const std::string& job, Time now) {
  if (jobs_.Find(job) == nullptr) return NotFound("job", job);
  return jobs_.Edit(job).Cancel(now);
}

absl::Status Cluster::PauseJob(const std::string& job, Time now) {
  if (jobs_.Find(job) == nullptr) return NotFound("job", job);
  return jobs_.Edit(job).Pause(now);
}

absl::Status Cluster::ResumeJob(const std::string& job, Time now) {
  if (jobs_.Find(job) == nullptr) return NotFound("job", job);
  return jobs_.Edit(job).Resume(now);
}

absl::Status Cluster::SetDraining(const std::string& worker, bool draining) {
  if (workers_.Find(worker) == nullptr) return NotFound("worker", worker);
  workers_.Edit(worker).set_state(draining ? v1::WORKER_STATE_DRAINING : v1::WORKER_STATE_READY);
  return absl::OkStatus();
}

// WORKERS

v1::RegisterWorkerResponse Cluster::Register(const v1::RegisterWorkerRequest& request, Time now) {
  const v1::Worker* known = workers_.Find(request.worker());
  v1::Worker worker;
  worker.set_name(WorkerName(request.worker()));
  worker.set_state(known != nullptr ? known->state() : v1::WORKER_STATE_READY);
  worker.set_slots(request.slots());
  worker.set_device(request.device());
  worker.set_device_name(request.device_name());
  worker.set_host(request.host());
  worker.set_version(request.version());
  worker.set_gang_address(request.gang_address());
  *worker.mutable_register_time() = ToProto(now);
  workers_.Put(request.worker(), std::move(worker));

  Session& session = sessions_[request.worker()];
  const bool is_new_process = session.registered && session.incarnation != request.incarnation();
  AnswerWithNothing(&session);
  if (session.incarnation != request.incarnation()) session.attempts.clear();
  session = {.registered = true,
             .incarnation = request.incarnation(),
             .heartbeat = now,
             .lease_end = now + options_.lease,
             .attempts = std::move(session.attempts)};
  // The same process may be about to report an attempt that it no longer lists; a new process cannot.
  if (is_new_process) LoseAttemptsNotIn(request.running(), request.worker(), now);
  NoteListed(request.worker(), request.running(), now);

  v1::RegisterWorkerResponse response;
  *response.mutable_lease() = ToProto(options_.lease);
  *response.mutable_heartbeat_interval() = ToProto(options_.heartbeat_interval);
  *response.mutable_stop() = AttemptsToStop(request.worker(), request.running(), now);
  return response;
}

absl::StatusOr<v1::HeartbeatResponse> Cluster::Heartbeat(const v1::HeartbeatRequest& request, Time now) {
  REGROUP_RETURN_IF_ERROR(CheckSession(request.worker(), request.incarnation()));
  Session& session = sessions_[request.worker()];
  session.heartbeat = now;
  session.lease_end = now + options_.lease;
  NoteListed(request.worker(), request.running(), now);

  v1::HeartbeatResponse response;
  *response.mutable_stop() = AttemptsToStop(request.worker(), request.running(), now);
  *response.mutable_pause() = AttemptsToPause(request.worker(), now);
  response.set_draining(workers_.Find(request.worker())->state() == v1::WORKER_STATE_DRAINING);
  return response;
}

absl::Status Cluster::Acquire(const v1::AcquireTaskRequest& request, uint64_t ticket, Time now) {
  REGROUP_RETURN_IF_ERROR(CheckSession(request.worker(), request.incarnation()));
  Session& session = sessions_[request.worker()];
  AnswerWithNothing(&session);
  session.asking = true;
  session.ticket = ticket;
  session.offered_slots = request.free_slots();
  session.asking_until = now + std::clamp(FromProto(request.wait()), Duration(0), kLongestWait);
  return absl::OkStatus();
}

void Cluster::StopAsking(const std::string& worker, uint64_t ticket) {
  const auto session = sessions_.find(worker);
  if (session != sessions_.end() && session->second.ticket == ticket) session->second.asking = false;
}

absl::Status Cluster::CheckSession(const std::string& worker, uint64_t incarnation) const {
  const auto session = sessions_.find(worker);
  if (session != sessions_.end() && session->second.registered && session->second.incarnation == incarnation) {
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kNotFound, v1::WORKER_NOT_REGISTERED,
                   fmt::format("worker \"{}\" has not registered this process", worker));
}

void Cluster::AnswerWithNothing(Session* session) {
  if (!session->asking) return;
  session->asking = false;
  answers_.push_back({session->ticket, std::nullopt});
}

// REPORTS

void Cluster::NoteListed(const std::string& worker, const AttemptList& listed, Time now) {
  const AttemptSet set(listed);
  for (const RunningTask& running : RunningOn(worker)) {
    Presence& presence = SightingOf(*running.job, running.task, now).workers[worker];
    const v1::AttemptId attempt = CurrentAttempt(*running.job, running.task);
    presence.is_listed = set.Contains(attempt);
    if (!presence.is_listed) continue;
    std::deque<v1::AttemptId>& attempts = sessions_[worker].attempts;
    if (!AttemptSet(attempts).Contains(attempt)) {
      attempts.push_back(attempt);
      if (attempts.size() > kRememberedAttempts) attempts.pop_front();
    }
    presence.was_listed = true;
    presence.lease_end = now + options_.lease;
  }
  for (Lingering& lingering : lingering_) {
    // The worker is alive and still runs the attempt.
    if (lingering.worker == worker) lingering.lease_end = now + options_.lease;
  }
  std::erase_if(lingering_, [&](const Lingering& lingering) {
    return lingering.worker == worker && !set.Contains(lingering.attempt);
  });
}

bool Cluster::MustStop(const Job& job, Time now) const {
  return job.IsWindingDown() || (job.IsHeld() && now >= job.record().pause_start + options_.pause_limit);
}

Cluster::AttemptList Cluster::AttemptsToPause(const std::string& worker, Time now) const {
  AttemptList pause;
  for (const auto& [job, task] : RunningOn(worker)) {
    if (job->IsHeld() && !MustStop(*job, now)) *pause.Add() = CurrentAttempt(*job, task);
  }
  return pause;
}

Cluster::AttemptList Cluster::AttemptsToStop(const std::string& worker, const AttemptList& listed, Time now) const {
  AttemptList wanted;
  AttemptList stop;
  for (const RunningTask& running : RunningOn(worker)) {
    *(MustStop(*running.job, now) ? stop : wanted).Add() = CurrentAttempt(*running.job, running.task);
  }
  AttemptSet known(wanted);
  const AttemptList unwanted = stop;
  for (const v1::AttemptId& attempt : unwanted) known.Insert(attempt);
  for (const v1::AttemptId& attempt : listed) {
    if (known.Insert(attempt)) *stop.Add() = attempt;
  }
  return stop;
}

void Cluster::LoseAttemptsNotIn(const AttemptList& listed, const std::string& worker, Time now) {
  const AttemptSet set(listed);
  for (const RunningTask& running : RunningOn(worker)) {
    if (set.Contains(CurrentAttempt(*running.job, running.task))) continue;
    if (SightingOf(*running.job, running.task, now).workers[worker].has_ended) continue;
    NoteLingering(*running.job, running.task, worker);
    const Reached reached = ReachedBy(*running.job, running.task);
    jobs_.Edit(running.job->id())
        .Lose(running.task, fmt::format("worker {} restarted and lost the attempt", worker), reached, now);
  }
}

absl::Status Cluster::Report(const v1::ReportTaskRequest& request, Time now) {
  REGROUP_RETURN_IF_ERROR(CheckSession(request.worker(), request.incarnation()));
  const v1::AttemptId& attempt = request.attempt();
  const Job* job = jobs_.Find(attempt.job());
  if (job == nullptr) {
    return MakeError(absl::StatusCode::kNotFound, v1::RESOURCE_NOT_FOUND,
                     fmt::format("there is no unfinished job \"{}\"", attempt.job()));
  }
  const std::optional<RunningTask> running = FindRunning(attempt);
  if (!running || !RunsOn(job->task(running->task), request.worker())) {
    const std::optional<size_t> task = job->FindTask(attempt.task());
    const bool is_repeated = task && request.has_outcome() && job->task(*task).epoch() == attempt.epoch() &&
                             IsFinalState(job->task(*task).state()) && RunsOn(job->task(*task), request.worker());
    return is_repeated ? absl::OkStatus() : StaleEpoch(attempt);
  }
  if (LastSegment(job->task(running->task).worker()) != request.worker()) return ReportByHelper(request, *running);
  if (request.has_outcome()) {
    NoteLingering(*job, running->task, request.worker());
    const Reached reached = ReachedBy(*job, running->task);
    jobs_.Edit(attempt.job()).Finish(running->task, request.outcome(), reached, now);
    return absl::OkStatus();
  }
  if (job->IsWindingDown() || job->IsHeld()) return StaleEpoch(attempt);
  if (!job->record().publication_granted) jobs_.Edit(attempt.job()).GrantPublication();
  return absl::OkStatus();
}

absl::Status Cluster::ReportByHelper(const v1::ReportTaskRequest& request, const RunningTask& running) {
  if (!request.has_outcome()) return StaleEpoch(request.attempt());
  const auto sighting = sightings_.find({request.attempt().job(), request.attempt().task()});
  if (sighting != sightings_.end() && sighting->second.epoch == request.attempt().epoch()) {
    sighting->second.workers[request.worker()].has_ended = true;
  }
  return absl::OkStatus();
}

void Cluster::NoteLingering(const Job& job, size_t task, const std::string& teller) {
  const Sighting* sighting = FindSighting(job, task);
  if (sighting == nullptr || sighting->workers.size() < 2) return;
  for (const auto& [worker, presence] : sighting->workers) {
    if (worker == teller || presence.has_ended) continue;
    lingering_.push_back({worker, CurrentAttempt(job, task), presence.lease_end});
  }
}

bool Cluster::Lingers(const Job& job, size_t task, Time now) const {
  const std::string& id = job.graph().tasks[task].id;
  return std::any_of(lingering_.begin(), lingering_.end(), [&](const Lingering& lingering) {
    return now < lingering.lease_end && lingering.attempt.task() == id && lingering.attempt.job() == job.id();
  });
}

Time Cluster::LeaseEndOf(const Job& job, size_t task, const std::string& worker, Time now) const {
  const Sighting* sighting = FindSighting(job, task);
  const bool is_known = sighting != nullptr && sighting->workers.contains(worker);
  return is_known ? sighting->workers.at(worker).lease_end : now + options_.lease;
}

void Cluster::NoteProgress(const std::string& worker, const v1::AttemptReport& report) {
  const std::optional<RunningTask> running = FindRunning(report.attempt());
  if (!running || !RunsOn(running->job->task(running->task), worker)) return;
  const auto found = sightings_.find({report.attempt().job(), report.attempt().task()});
  if (found == sightings_.end() || found->second.epoch != report.attempt().epoch()) return;
  Sighting& sighting = found->second;
  if (report.has_progress()) sighting.progress = report.progress();
  for (const v1::LogEntry& entry : report.logs()) sighting.log_tail.push_back(entry.message());
  while (sighting.log_tail.size() > kLogTailLines) sighting.log_tail.pop_front();
}

// CLOCK

void Cluster::Tick(Time now) {
  EndSilentAttempts(now);
  for (const std::string& id : started_jobs_) {
    const Job* job = jobs_.Find(id);
    if (job != nullptr && job->IsOverdue(now)) jobs_.Edit(id).FailIfOverdue(now);
  }
  for (auto& [worker, session] : sessions_) {
    if (now >= session.asking_until || now >= session.lease_end) AnswerWithNothing(&session);
  }
  ForgetEndedAttempts();
  ForgetMovesOfEndedJobs();
  NoteWhatCannotBeHeld(now);
  ResumeWhatGaveWay(now);
  if (options_.preempts) MakeWay(now);
}

std::string Cluster::WhyLost(const Job& job, size_t task, Time now) {
  const std::string lead = LastSegment(job.task(task).worker());
  for (const auto& [worker, presence] : SightingOf(job, task, now).workers) {
    const bool should_stop = job.IsWindingDown() || job.IsHeld();
    const bool has_stopped = should_stop && worker == lead && presence.was_listed && !presence.is_listed;
    if (presence.has_ended || (!has_stopped && now < presence.lease_end)) continue;
    return IsAlive(worker, now) ? fmt::format("worker {} no longer runs the attempt", worker)
                                : fmt::format("worker {} was silent for {} s", worker, Seconds(options_.lease));
  }
  return "";
}

void Cluster::EndSilentAttempts(Time now) {
  for (const auto& [job, task] : Running()) {
    const std::string why = WhyLost(*job, task, now);
    if (why.empty()) continue;
    NoteLingering(*job, task, "");
    const Reached reached = ReachedBy(*job, task);
    jobs_.Edit(job->id()).Lose(task, why, reached, now);
  }
  std::erase_if(lingering_, [now](const Lingering& lingering) { return now >= lingering.lease_end; });
}

void Cluster::ForgetEndedAttempts() {
  std::erase_if(sightings_, [this](const auto& entry) {
    v1::AttemptId attempt;
    attempt.set_job(entry.first.first);
    attempt.set_task(entry.first.second);
    attempt.set_epoch(entry.second.epoch);
    return !FindRunning(attempt);
  });
}

// CHANGES

const std::map<std::string, std::optional<Job>>& Effects::jobs() const { return cluster_->jobs().changes(); }

const std::map<std::string, std::optional<v1::Worker>>& Effects::workers() const {
  return cluster_->workers().changes();
}

std::vector<Answer> Effects::Stored() && {
  cluster_->Commit();
  return std::exchange(cluster_->answers_, {});
}

std::vector<Answer> Effects::NotStored() && {
  cluster_->Rollback();
  std::vector<Answer> answers = std::exchange(cluster_->answers_, {});
  for (Answer& answer : answers) {
    answer.is_lost = answer.assignment.has_value();
    answer.assignment.reset();
  }
  return answers;
}

Effects Cluster::TakeEffects() {
  std::vector<JobChange> sealed;
  std::vector<std::string> unchanged;
  for (const auto& [id, before] : jobs_.changes()) {
    if (jobs_.Find(id)->HasChangedSince(before)) {
      Job& job = jobs_.Edit(id);
      job.NextRevision();
      sealed.push_back({job.record(), job.TasksChangedSince(before)});
    } else {
      unchanged.push_back(id);
    }
  }
  for (const std::string& id : unchanged) jobs_.Unmark(id);
  return Effects(this, std::move(sealed));
}

void Cluster::Commit() {
  std::vector<std::string> final_jobs;
  const std::set<std::string> changed = ChangedJobs();
  for (const std::string& id : changed) {
    if (jobs_.Find(id)->IsFinal()) final_jobs.push_back(id);
  }
  jobs_.Commit();
  workers_.Commit();
  for (const std::string& id : final_jobs) jobs_.Forget(id);
  NoteWhatRuns(changed);
}

void Cluster::Rollback() {
  // A registration that could not be stored does not count.
  for (const auto& [worker, before] : workers_.changes()) sessions_[worker].registered = false;
  const std::set<std::string> changed = ChangedJobs();
  jobs_.Rollback();
  workers_.Rollback();
  NoteWhatRuns(changed);
}

std::set<std::string> Cluster::ChangedJobs() const {
  std::set<std::string> changed;
  for (const auto& [id, before] : jobs_.changes()) changed.insert(id);
  return changed;
}

// ATTEMPTS

Cluster::Sighting& Cluster::SightingOf(const Job& job, size_t task, Time now) {
  Sighting& sighting = sightings_[{job.id(), job.graph().tasks[task].id}];
  const int64_t epoch = job.task(task).epoch();
  if (sighting.epoch != epoch) {
    sighting = Sighting();
    sighting.epoch = epoch;
    for (const WorkerRanks& share : WorkersOf(job.task(task))) {
      sighting.workers[share.worker].lease_end = now + options_.lease;
    }
  }
  return sighting;
}

const Cluster::Sighting* Cluster::FindSighting(const Job& job, size_t task) const {
  const auto found = sightings_.find({job.id(), job.graph().tasks[task].id});
  if (found == sightings_.end() || found->second.epoch != job.task(task).epoch()) return nullptr;
  return &found->second;
}

Reached Cluster::ReachedBy(const Job& job, size_t task) const {
  const Sighting* sighting = FindSighting(job, task);
  if (sighting == nullptr) return {};
  return {sighting->progress.done(), {sighting->log_tail.begin(), sighting->log_tail.end()}};
}

std::optional<Cluster::RunningTask> Cluster::FindRunning(const v1::AttemptId& attempt) const {
  const Job* job = jobs_.Find(attempt.job());
  const std::optional<size_t> task = job != nullptr ? job->FindTask(attempt.task()) : std::nullopt;
  if (!task || job->task(*task).state() != v1::TASK_STATE_RUNNING || job->task(*task).epoch() != attempt.epoch()) {
    return std::nullopt;
  }
  return RunningTask{job, *task};
}

std::vector<Cluster::RunningTask> Cluster::RunningOn(const std::string& worker) const {
  std::vector<RunningTask> running = Running();
  std::erase_if(running, [&](const RunningTask& one) { return !RunsOn(one.job->task(one.task), worker); });
  return running;
}

std::vector<Cluster::RunningTask> Cluster::Running() const {
  std::vector<RunningTask> running;
  for (const std::string& id : running_jobs_) {
    const Job* job = jobs_.Find(id);
    if (job == nullptr) continue;
    for (const size_t task : job->RunningTasks()) running.push_back({job, task});
  }
  return running;
}

void Cluster::NoteWhatRuns(const std::set<std::string>& changed_jobs) {
  for (const std::string& id : changed_jobs) {
    const Job* job = jobs_.Find(id);
    if (job != nullptr && !job->RunningTasks().empty()) {
      running_jobs_.insert(id);
    } else {
      running_jobs_.erase(id);
    }
    if (job != nullptr && !job->IsFinal() && job->proto().has_start_time()) {
      started_jobs_.insert(id);
    } else {
      started_jobs_.erase(id);
    }
  }
}

// QUESTIONS

v1::Job Cluster::Describe(const Job& job, Time now) const {
  v1::Job described = job.proto();
  described.set_waiting_reason(WaitingReasonOf(job, now));
  for (const size_t task : job.RunningTasks()) {
    const v1::Progress* progress = ProgressOf(job, task);
    if (progress != nullptr) *described.mutable_tasks(static_cast<int>(task))->mutable_progress() = *progress;
  }
  return described;
}

bool Cluster::IsWaiting(const Job& job) {
  return !job.IsFinal() && !job.IsWindingDown() && !job.IsHeld() && job.RunningTasks().empty();
}

std::vector<std::string_view> Cluster::WaitingKindsOf(const std::vector<const Job*>& jobs, Time now) const {
  const std::vector<Capacity> capacities = CapacitiesOf(LiveWorkers(now));
  // Cache by demand: thousands of jobs have only a few different ones.
  std::map<std::tuple<int, std::vector<int>, bool>, std::string_view> known;
  const std::map<std::string, int> busy_slots = BusySlots();
  std::vector<std::string_view> kinds;
  for (const Job* job : jobs) {
    std::string_view& kind = kinds.emplace_back();
    if (!IsWaiting(*job)) continue;
    const std::vector<size_t> ready = job->ReadyTasks(now);
    kind = "pause";
    if (ready.empty()) continue;
    const Demand demand = DemandOf(*job, ready.front(), now);
    kind = "quota";
    if (!QuotaReason(*job, demand, busy_slots).empty()) continue;
    const auto [found, is_new] = known.try_emplace({demand.ranks, demand.smaller, demand.needs_cuda});
    if (is_new) found->second = WaitingKind(demand, capacities);
    kind = found->second;
  }
  return kinds;
}

std::string Cluster::WaitingReasonOf(const Job& job, Time now) const {
  if (!IsWaiting(job) && !job.IsHeld()) return "";
  return WaitingReasonsOf({&job}, now).front();
}

std::vector<std::string> Cluster::WaitingReasonsOf(const std::vector<const Job*>& jobs, Time now) const {
  const std::vector<Capacity> capacities = CapacitiesOf(LiveWorkers(now));
  const std::map<std::string, int> busy_slots = BusySlots();
  std::vector<std::string> reasons;
  for (const Job* job : jobs) {
    std::string& reason = reasons.emplace_back();
    if (job->proto().state() == v1::JOB_STATE_PAUSED) reason = WhyPaused(job->proto());
    if (!IsWaiting(*job)) continue;
    const std::vector<size_t> ready = job->ReadyTasks(now);
    reason = "a task restarts after a short pause";
    if (ready.empty()) continue;
    const Demand demand = DemandOf(*job, ready.front(), now);
    reason = QuotaReason(*job, demand, busy_slots);
    if (reason.empty()) reason = WaitingReason(demand, capacities);
  }
  return reasons;
}

v1::Worker Cluster::Describe(const v1::Worker& worker, Time now) const {
  const std::string id = LastSegment(worker.name());
  v1::Worker described = worker;
  const auto session = sessions_.find(id);
  const bool is_lost = session == sessions_.end() || now >= session->second.lease_end;
  if (is_lost) described.set_state(v1::WORKER_STATE_LOST);
  if (session != sessions_.end()) *described.mutable_heartbeat_time() = ToProto(session->second.heartbeat);
  for (const RunningTask& running : RunningOn(id)) {
    const v1::Task& task = running.job->task(running.task);
    for (const WorkerRanks& share : WorkersOf(task)) {
      if (share.worker == id) described.set_busy_slots(described.busy_slots() + share.ranks);
    }
    described.add_running_tasks(task.name());
  }
  return described;
}

bool Cluster::HasRun(const std::string& worker, const v1::AttemptId& attempt) const {
  const auto session = sessions_.find(worker);
  return session != sessions_.end() && AttemptSet(session->second.attempts).Contains(attempt);
}

const v1::Progress* Cluster::ProgressOf(const Job& job, size_t task) const {
  const Sighting* sighting = FindSighting(job, task);
  return sighting != nullptr && !sighting->progress.phase().empty() ? &sighting->progress : nullptr;
}

}  // namespace regroup
