// The part of Cluster that follows running attempts: who lists them, what they report, when they are given up.
#include <fmt/format.h>

#include <algorithm>

#include "coordinator/job/assignment.h"
#include "coordinator/schedule/cluster.h"
#include "services/common/base/error.h"
#include "services/common/base/final_states.h"
#include "services/common/base/resource_names.h"

namespace regroup {
namespace {

constexpr size_t kLogTailLines = 20;

absl::Status StaleEpoch(const v1::AttemptId& attempt) {
  return MakeError(absl::StatusCode::kFailedPrecondition, v1::STALE_EPOCH,
                   fmt::format("attempt {} of task {} of job {} is over; its processes must stop", attempt.epoch(),
                               attempt.task(), attempt.job()));
}

bool IsSame(const v1::AttemptId& a, const v1::AttemptId& b) {
  return a.epoch() == b.epoch() && a.task() == b.task() && a.job() == b.job();
}

/// Whether the worker leads or helps.
bool RunsOn(const v1::Task& task, const std::string& worker) {
  const std::vector<WorkerRanks> workers = WorkersOf(task);
  return std::any_of(workers.begin(), workers.end(), [&](const WorkerRanks& share) { return share.worker == worker; });
}

template <typename List>
bool Contains(const List& list, const v1::AttemptId& attempt) {
  return std::any_of(list.begin(), list.end(), [&](const v1::AttemptId& other) { return IsSame(other, attempt); });
}

}  // namespace

// What is known of running attempts.

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

const v1::Progress* Cluster::ProgressOf(const Job& job, size_t task) const {
  const Sighting* sighting = FindSighting(job, task);
  return sighting != nullptr && !sighting->progress.phase().empty() ? &sighting->progress : nullptr;
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

// What workers say about attempts.

void Cluster::NoteListed(const std::string& worker, const AttemptList& listed, Time now) {
  for (const RunningTask& running : RunningOn(worker)) {
    Presence& presence = SightingOf(*running.job, running.task, now).workers[worker];
    presence.is_listed = Contains(listed, CurrentAttempt(*running.job, running.task));
    if (!presence.is_listed) continue;
    presence.was_listed = true;
    presence.lease_end = now + options_.lease;
  }
  for (Lingering& lingering : lingering_) {
    // It is alive and has not let go yet.
    if (lingering.worker == worker) lingering.lease_end = now + options_.lease;
  }
  std::erase_if(lingering_, [&](const Lingering& lingering) {
    return lingering.worker == worker && !Contains(listed, lingering.attempt);
  });
}

Cluster::AttemptList Cluster::AttemptsToStop(const std::string& worker, const AttemptList& listed) const {
  AttemptList wanted;
  AttemptList stop;
  for (const RunningTask& running : RunningOn(worker)) {
    *(running.job->IsWindingDown() ? stop : wanted).Add() = CurrentAttempt(*running.job, running.task);
  }
  for (const v1::AttemptId& attempt : listed) {
    if (!Contains(wanted, attempt) && !Contains(stop, attempt)) *stop.Add() = attempt;
  }
  return stop;
}

void Cluster::LoseAttemptsNotIn(const AttemptList& listed, const std::string& worker, Time now) {
  for (const RunningTask& running : RunningOn(worker)) {
    if (Contains(listed, CurrentAttempt(*running.job, running.task))) continue;
    if (SightingOf(*running.job, running.task, now).workers[worker].has_ended) continue;
    NoteLingering(*running.job, running.task, worker);
    const Reached reached = ReachedBy(*running.job, running.task);
    jobs_.Edit(running.job->id())
        .Lose(running.task, fmt::format("worker {} restarted and lost the attempt", worker), reached, now);
  }
}

absl::Status Cluster::Report(const v1::ReportTaskRequest& request, Time now) {
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
                             IsFinalState(job->task(*task).state());
    return is_repeated ? absl::OkStatus() : StaleEpoch(attempt);
  }
  if (LastSegment(job->task(running->task).worker()) != request.worker()) return ReportByHelper(request, *running);
  if (request.has_outcome()) {
    NoteLingering(*job, running->task, request.worker());
    const Reached reached = ReachedBy(*job, running->task);
    jobs_.Edit(attempt.job()).Finish(running->task, request.outcome(), reached, now);
    return absl::OkStatus();
  }
  if (job->IsWindingDown()) return StaleEpoch(attempt);
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

void Cluster::NoteProgress(const v1::AttemptReport& report) {
  const std::optional<RunningTask> running = FindRunning(report.attempt());
  if (!running) return;
  const auto found = sightings_.find({report.attempt().job(), report.attempt().task()});
  if (found == sightings_.end() || found->second.epoch != report.attempt().epoch()) return;
  Sighting& sighting = found->second;
  if (report.has_progress()) sighting.progress = report.progress();
  for (const v1::LogEntry& entry : report.logs()) sighting.log_tail.push_back(entry.message());
  while (sighting.log_tail.size() > kLogTailLines) sighting.log_tail.pop_front();
}

// What silence says about attempts.

std::string Cluster::WhyLost(const Job& job, size_t task, Time now) {
  const std::string lead = LastSegment(job.task(task).worker());
  for (const auto& [worker, presence] : SightingOf(job, task, now).workers) {
    const bool has_stopped = job.IsWindingDown() && worker == lead && presence.was_listed && !presence.is_listed;
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

}  // namespace regroup
