// The part of Cluster that takes slow tasks away from their workers, to start them once more on others.
#include <fmt/format.h>

#include <algorithm>

#include "coordinator/job/assignment.h"
#include "coordinator/schedule/cluster.h"
#include "services/common/base/resource_names.h"

namespace regroup {

/// The slowest first. A task is moved once: one that is slow everywhere is not helped by moving on.
std::vector<Cluster::RunningTask> Cluster::Stragglers(Time now) const {
  std::vector<RunningTask> slow;
  for (const RunningTask& running : Running()) {
    const auto& [job, task] = running;
    const auto moved = moves_.find({job->id(), job->graph().tasks[task].id});
    // A move that could not be stored did not happen.
    const bool was_moved = moved != moves_.end() && moved->second < job->task(task).epoch();
    if (!was_moved && !job->IsWindingDown() && IsStraggler(*job, task, options_.straggler, now))
      slow.push_back(running);
  }
  std::stable_sort(slow.begin(), slow.end(), [now](const RunningTask& a, const RunningTask& b) {
    return RunningTime(*a.job, a.task, now) > RunningTime(*b.job, b.task, now);
  });
  return slow;
}

void Cluster::MoveStragglers(Time now) {
  // What was moved before and still waits for its old process has a claim on what is free.
  if (options_.straggler.floor <= Duration(0) || !lingering_.empty()) return;
  const std::vector<RunningTask> slow = Stragglers(now);
  if (slow.empty()) return;
  const std::vector<std::string> names = LiveWorkers(now);
  std::vector<Capacity> capacities = CapacitiesOf(names);
  for (const RunningTask& running : slow) {
    const std::string worker = LastSegment(running.job->task(running.task).worker());
    const Demand demand = DemandOf(*running.job, running.task);
    for (size_t other = 0; other < names.size(); ++other) {
      if (names[other] == worker || !CanStart(capacities[other], demand)) continue;
      capacities[other].free_slots -= demand.ranks;
      Move(running, now);
      break;
    }
  }
}

/// From now on the attempt is an old one: its worker is told to stop it, and the next starts when no process of it is
/// left.
void Cluster::Move(const RunningTask& running, Time now) {
  const auto [job, task] = running;
  const v1::AttemptId attempt = CurrentAttempt(*job, task);
  for (const WorkerRanks& share : WorkersOf(job->task(task))) {
    lingering_.push_back({share.worker, attempt, LeaseEndOf(*job, task, share.worker, now)});
  }
  moves_[{attempt.job(), attempt.task()}] = attempt.epoch();
  const std::string why = fmt::format(
      "worker {} was slow: {:.0f} s, where the same takes {:.0f} s for other layers; another worker starts it anew",
      LastSegment(job->task(task).worker()), Seconds(RunningTime(*job, task, now)),
      Seconds(UsualDuration(*job, task).value_or(Duration(0))));
  jobs_.Edit(attempt.job()).Move(task, why, now);
}

std::string Cluster::AvoidedBy(const Job& job, size_t task) const {
  const auto moved = moves_.find({job.id(), job.graph().tasks[task].id});
  const bool is_avoiding = moved != moves_.end() && moved->second == job.task(task).epoch();
  return is_avoiding ? LastSegment(job.task(task).worker()) : "";
}

void Cluster::ForgetMovesOfEndedJobs() {
  std::erase_if(moves_, [this](const auto& move) { return jobs_.Find(move.first.first) == nullptr; });
}

}  // namespace regroup
