// The decisions of the cluster, in three sections; each begins with its name in capitals.
//
//   PLACEMENT   gives waiting tasks to workers that ask
//   MOVES       takes slow tasks from their workers, to restart them on others
//   PREEMPTION  pauses training for tasks of higher priority, and resumes it
#include <fmt/format.h>

#include <algorithm>

#include "coordinator/job/assignment.h"
#include "coordinator/job/smaller_gang.h"
#include "coordinator/schedule/cluster.h"
#include "coordinator/schedule/fair_order.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/sha256.h"
#include "services/common/base/task_kinds.h"

namespace regroup {
namespace {

/// Waiting tasks that cannot start and for which training may have to give way: a bound on the work of a tick.
constexpr size_t kMostLookedAt = 100;

bool NeedsCuda(const Job& job, size_t task) {
  return NeedsDevice(job.task(task).kind()) && job.proto().resolved_spec().resources().device() == "cuda";
}

std::optional<size_t> PositionOf(const std::string& name, const std::vector<std::string>& names) {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? std::nullopt : std::make_optional(static_cast<size_t>(found - names.begin()));
}

}  // namespace

// PLACEMENT

void Cluster::PlaceTasks(Time now) {
  const std::vector<std::string> names = LiveWorkers(now);
  const auto asks = [this](const std::string& name) { return sessions_.at(name).asking; };
  if (std::none_of(names.begin(), names.end(), asks)) return;
  const std::vector<Waiting> waiting = WaitingTasks(now);
  std::vector<Demand> demands;
  for (const Waiting& wait : waiting) {
    demands.push_back(wait.demand);
    demands.back().avoided = PositionOf(AvoidedBy(*wait.job, wait.task), names);
    demands.back().disliked = PositionOf(FailedOn(*wait.job, wait.task), names);
  }
  std::vector<Budget> budgets = BudgetsOf(waiting, BusySlots(), &demands);
  const std::vector<Placement> placements = Place(demands, CapacitiesOf(names), std::move(budgets));
  for (const Placement& placement : placements) {
    const Waiting& wait = waiting[placement.demand];
    std::vector<WorkerRanks> workers;
    for (const Share& share : placement.shares) workers.push_back({names[share.worker], share.ranks});
    StartTask(wait.job->id(), wait.task, workers, now);
  }
  if (placements.size() == waiting.size()) MoveStragglers(now);
}

std::vector<Cluster::Waiting> Cluster::WaitingTasks(Time now) const {
  std::vector<Waiting> waiting;
  std::vector<Claim> claims;
  for (const auto& [id, job] : jobs_) {
    const std::string& owner = job.proto().owner();
    for (const size_t task : job.ReadyTasks(now)) {
      if (Lingers(job, task, now)) continue;
      waiting.push_back({&job, task, DemandOf(job, task, now)});
      claims.push_back({.owner = owner,
                        .priority = job.proto().resolved_spec().resources().priority(),
                        .create_time = FromProto(job.proto().create_time()),
                        .job = id,
                        .task = task,
                        .ranks = waiting.back().demand.ranks});
    }
  }
  std::vector<Waiting> in_order;
  for (const size_t claim : FairOrder(claims, BusySlots())) in_order.push_back(waiting[claim]);
  return in_order;
}

std::map<std::string, int> Cluster::BusySlots() const {
  std::map<std::string, int> busy_slots;
  for (const auto& [job, task] : Running()) busy_slots[job->proto().owner()] += job->task(task).ranks();
  return busy_slots;
}

std::vector<Budget> Cluster::BudgetsOf(const std::vector<Waiting>& waiting,
                                       const std::map<std::string, int>& busy_slots,
                                       std::vector<Demand>* demands) const {
  std::vector<Budget> budgets;
  std::map<std::string, size_t> positions;
  for (size_t i = 0; i < waiting.size(); ++i) {
    const std::string& owner = waiting[i].job->proto().owner();
    const std::optional<int> slots = quotas_.Of(owner).slots;
    if (!slots) continue;
    const auto [position, is_new] = positions.try_emplace(owner, budgets.size());
    if (is_new) budgets.push_back({*slots, busy_slots.contains(owner) ? busy_slots.at(owner) : 0});
    (*demands)[i].budget = position->second;
  }
  return budgets;
}

std::string Cluster::QuotaReason(const Job& job, const Demand& demand,
                                 const std::map<std::string, int>& busy_slots) const {
  const std::string& owner = job.proto().owner();
  const std::optional<int> slots = quotas_.Of(owner).slots;
  const auto busy = busy_slots.find(owner);
  const int used = busy == busy_slots.end() ? 0 : busy->second;
  if (!slots || used + demand.ranks <= *slots) return "";
  if (demand.ranks > *slots) return fmt::format("{}; the quota of {} is {}", NeedsSlots(demand), owner, *slots);
  return fmt::format("{}; the quota of {} is {}, of which {} are in use", NeedsSlots(demand), owner, *slots, used);
}

void Cluster::StartTask(const std::string& job, size_t task, const std::vector<WorkerRanks>& workers, Time now) {
  Job& edited = jobs_.Edit(job);
  running_jobs_.insert(job);
  edited.Start(task, workers, now);
  SightingOf(edited, task, now);
  v1::TaskAssignment assignment = MakeAssignment(edited, task, options_.watchdog);
  if (workers.size() > 1) *assignment.mutable_gang() = GangOf(assignment.attempt(), workers);
  for (size_t member = 0; member < workers.size(); ++member) {
    if (member > 0) assignment.mutable_gang()->set_member(static_cast<int>(member));
    Session& session = sessions_.at(workers[member].worker);
    session.asking = false;
    answers_.push_back({session.ticket, assignment});
  }
}

v1::Gang Cluster::GangOf(const v1::AttemptId& attempt, const std::vector<WorkerRanks>& workers) const {
  v1::Gang gang;
  for (const WorkerRanks& share : workers) {
    v1::GangMember& member = *gang.add_members();
    member.set_worker(share.worker);
    member.set_ranks(share.ranks);
    member.set_address(workers_.Find(share.worker)->gang_address());
  }
  // Hashed twice, so that a token reveals nothing about the token of a longer name.
  const std::string name = fmt::format("{}/{}/{}", attempt.job(), attempt.task(), attempt.epoch());
  gang.set_token(Sha256Of(options_.gang_secret + Sha256Of(options_.gang_secret + name)));
  return gang;
}

bool Cluster::IsAlive(const std::string& worker, Time now) const {
  const auto session = sessions_.find(worker);
  return session != sessions_.end() && session->second.registered && now < session->second.lease_end;
}

std::vector<std::string> Cluster::LiveWorkers(Time now) const {
  std::vector<std::string> names;
  for (const auto& [name, worker] : workers_) {
    if (IsAlive(name, now)) names.push_back(name);
  }
  return names;
}

std::vector<Capacity> Cluster::CapacitiesOf(const std::vector<std::string>& names) const {
  std::map<std::string, int> busy_slots;
  for (const RunningTask& running : Running()) {
    for (const WorkerRanks& share : WorkersOf(running.job->task(running.task))) busy_slots[share.worker] += share.ranks;
  }
  std::vector<Capacity> capacities;
  for (const std::string& name : names) capacities.push_back(CapacityOf(*workers_.Find(name), busy_slots[name]));
  return capacities;
}

Capacity Cluster::CapacityOf(const v1::Worker& worker, int busy_slots) const {
  const Session& session = sessions_.at(LastSegment(worker.name()));
  const int free_slots = worker.slots() - busy_slots;
  return {.slots = worker.slots(),
          // A worker may still be ending a process that is no longer counted here.
          .free_slots = session.asking ? std::min(free_slots, session.offered_slots) : free_slots,
          .has_cuda = worker.device() == "cuda",
          .is_draining = worker.state() == v1::WORKER_STATE_DRAINING,
          .is_asking = session.asking,
          // Without the secret anybody could compute the tokens of gangs.
          .can_share = !worker.gang_address().empty() && !options_.gang_secret.empty()};
}

Demand Cluster::DemandOf(const Job& job, size_t task, Time now) const {
  Demand demand{.ranks = job.graph().tasks[task].ranks, .needs_cuda = NeedsCuda(job, task)};
  const auto unheld = unheld_since_.find({job.id(), job.graph().tasks[task].id});
  if (unheld != unheld_since_.end() && now >= unheld->second + options_.shrink_after) {
    demand.smaller = SmallerGangs(job, task);
  }
  return demand;
}

void Cluster::NoteWhatCannotBeHeld(Time now) {
  std::map<TaskKey, Time> unheld;
  std::optional<std::vector<Capacity>> capacities;
  for (const auto& [id, job] : jobs_) {
    const v1::Finetune& finetune = job.proto().resolved_spec().finetune();
    if (!finetune.has_min_ranks() || finetune.min_ranks() >= finetune.ranks()) continue;
    for (const size_t task : job.ReadyTasks(now)) {
      if (SmallerGangs(job, task).empty()) continue;
      if (!capacities) capacities = CapacitiesOf(LiveWorkers(now));
      if (CouldHold(*capacities, DemandOf(job, task, now))) continue;
      const TaskKey key{id, job.graph().tasks[task].id};
      const auto before = unheld_since_.find(key);
      unheld[key] = before == unheld_since_.end() ? now : before->second;
    }
  }
  unheld_since_ = std::move(unheld);
}

// MOVES

/// Returns the slowest first. A task is moved only once: moving again does not help one that is slow everywhere.
std::vector<Cluster::RunningTask> Cluster::Stragglers(Time now) const {
  std::vector<RunningTask> slow;
  for (const RunningTask& running : Running()) {
    const auto& [job, task] = running;
    const auto moved = moves_.find({job->id(), job->graph().tasks[task].id});
    // A move that could not be stored does not count.
    const bool was_moved = moved != moves_.end() && moved->second < job->task(task).epoch();
    if (!was_moved && !job->IsWindingDown() && !job->IsHeld() && IsStraggler(*job, task, options_.straggler, now))
      slow.push_back(running);
  }
  std::stable_sort(slow.begin(), slow.end(), [now](const RunningTask& a, const RunningTask& b) {
    return RunningTime(*a.job, a.task, now) > RunningTime(*b.job, b.task, now);
  });
  return slow;
}

void Cluster::MoveStragglers(Time now) {
  // A task that was moved before and still waits for its old process has a claim on free slots.
  if (options_.straggler.floor <= Duration(0) || !lingering_.empty()) return;
  const std::vector<RunningTask> slow = Stragglers(now);
  if (slow.empty()) return;
  const std::vector<std::string> names = LiveWorkers(now);
  std::vector<Capacity> capacities = CapacitiesOf(names);
  for (const RunningTask& running : slow) {
    const std::string worker = LastSegment(running.job->task(running.task).worker());
    const Demand demand = DemandOf(*running.job, running.task, now);
    for (size_t other = 0; other < names.size(); ++other) {
      if (names[other] == worker || !CanStart(capacities[other], demand)) continue;
      capacities[other].free_slots -= demand.ranks;
      Move(running, now);
      break;
    }
  }
}

/// Supersedes the attempt: its worker is told to stop it, and the next one starts when no process of it is left.
void Cluster::Move(const RunningTask& running, Time now) {
  const auto [job, task] = running;
  const v1::AttemptId attempt = CurrentAttempt(*job, task);
  for (const WorkerRanks& share : WorkersOf(job->task(task))) {
    lingering_.push_back({share.worker, attempt, LeaseEndOf(*job, task, share.worker, now)});
  }
  moves_[{attempt.job(), attempt.task()}] = attempt.epoch();
  const std::string why = fmt::format(
      "worker {} was slow: {:.0f} s, where tasks like this take {:.0f} s; restarting the task on another worker",
      LastSegment(job->task(task).worker()), Seconds(RunningTime(*job, task, now)),
      Seconds(UsualDuration(*job, task).value_or(Duration(0))));
  jobs_.Edit(attempt.job()).Move(task, why, now);
}

std::string Cluster::AvoidedBy(const Job& job, size_t task) const {
  const auto moved = moves_.find({job.id(), job.graph().tasks[task].id});
  const bool is_avoiding = moved != moves_.end() && moved->second == job.task(task).epoch();
  return is_avoiding ? LastSegment(job.task(task).worker()) : "";
}

std::string Cluster::FailedOn(const Job& job, size_t task) {
  const v1::FailureClass reason = job.task(task).failure().failure_class();
  const bool of_machine = reason == v1::FAILURE_CLASS_INFRA || reason == v1::FAILURE_CLASS_HANG;
  // It is not known which worker of a gang on several failed.
  return of_machine && job.task(task).shares().empty() ? LastSegment(job.task(task).worker()) : "";
}

void Cluster::ForgetMovesOfEndedJobs() {
  std::erase_if(moves_, [this](const auto& move) { return jobs_.Find(move.first.first) == nullptr; });
}

// PREEMPTION

void Cluster::ResumeWhatGaveWay(Time now) {
  std::vector<std::string> over;
  std::optional<std::vector<Capacity>> capacities;
  for (const std::string& id : started_jobs_) {
    const Job* job = jobs_.Find(id);
    if (job == nullptr || job->proto().gave_way_to().empty()) continue;
    if (!capacities) capacities = CapacitiesOf(LiveWorkers(now));
    if (!options_.preempts || !NeedsItsSlots(job->proto().gave_way_to(), *capacities, now)) over.push_back(id);
  }
  for (const std::string& id : over) (void)jobs_.Edit(id).Resume(now);
  std::erase_if(stuck_since_, [this](const auto& entry) { return jobs_.Find(entry.first) == nullptr; });
}

bool Cluster::NeedsItsSlots(const std::string& id, const std::vector<Capacity>& capacities, Time now) {
  const Job* job = jobs_.Find(id);
  if (job == nullptr || job->IsHeld() || job->IsWindingDown()) return false;
  const std::vector<size_t> ready = job->ReadyTasks(now);
  // Without a ready task it waits for a moment, before an attempt is retried.
  const bool goes_on =
      !job->RunningTasks().empty() || ready.empty() || std::any_of(ready.begin(), ready.end(), [&](size_t task) {
        return CouldEverRun(*job, DemandOf(*job, task, now), capacities);
      });
  if (goes_on) {
    stuck_since_.erase(id);
    return true;
  }
  return now < stuck_since_.try_emplace(id, now).first->second + options_.lease;
}

bool Cluster::CouldEverRun(const Job& job, const Demand& demand, const std::vector<Capacity>& capacities) const {
  const std::optional<int> quota = quotas_.Of(job.proto().owner()).slots;
  const auto could_run = [&](int ranks) {
    return (!quota || ranks <= *quota) && CouldHold(capacities, {.ranks = ranks, .needs_cuda = demand.needs_cuda});
  };
  return could_run(demand.ranks) || std::any_of(demand.smaller.begin(), demand.smaller.end(), could_run);
}

void Cluster::MakeWay(Time now) {
  const std::vector<std::string> names = LiveWorkers(now);
  const std::vector<Interruptible> interruptible = InterruptibleJobs(names);
  if (!SomeJobOutranks(interruptible)) return;
  std::vector<Capacity> capacities = CapacitiesOf(names);
  std::map<std::string, int> busy_slots = BusySlots();
  FreeWhatPauses(names, &capacities, &busy_slots);
  // Workers with free slots ask for tasks within moments.
  for (Capacity& capacity : capacities) capacity.is_asking = true;
  const std::vector<Waiting> waiting = WaitingTasks(now);
  std::vector<Demand> demands;
  for (const Waiting& wait : waiting) demands.push_back(wait.demand);
  std::vector<Budget> budgets = BudgetsOf(waiting, busy_slots, &demands);
  // Those that cannot start, in order: what comes free goes to them first.
  std::vector<Demand> blocked;
  for (size_t next = 0; next < waiting.size() && blocked.size() < kMostLookedAt; ++next) {
    const Job& job = *waiting[next].job;
    if (!CouldEverRun(job, demands[next], capacities) || TakeSlots(demands[next], &capacities, &budgets)) continue;
    blocked.push_back(demands[next]);
    const int priority = job.proto().resolved_spec().resources().priority();
    const std::vector<size_t> losers =
        WhoGivesWay(job.proto().owner(), priority, blocked, interruptible, capacities, budgets);
    if (losers.empty()) continue;
    const std::string id = job.id();
    for (const size_t loser : losers) (void)jobs_.Edit(interruptible[loser].job).GiveWayTo(id, now);
    return;
  }
}

bool Cluster::SomeJobOutranks(const std::vector<Interruptible>& running) const {
  if (running.empty()) return false;
  return std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
    const v1::Job& job = entry.second.proto();
    return std::any_of(running.begin(), running.end(), [&](const Interruptible& one) {
      return one.owner == job.owner() && one.priority < job.resolved_spec().resources().priority();
    });
  });
}

std::vector<Interruptible> Cluster::InterruptibleJobs(const std::vector<std::string>& workers) const {
  std::map<std::string, Interruptible> jobs;
  std::set<std::string> training;
  for (const auto& [job, task] : Running()) {
    if (job->IsHeld() || job->IsWindingDown()) continue;
    Interruptible& one = jobs[job->id()];
    one.job = job->id();
    one.owner = job->proto().owner();
    one.priority = job->proto().resolved_spec().resources().priority();
    for (const WorkerRanks& share : WorkersOf(job->task(task))) {
      if (const auto worker = PositionOf(share.worker, workers)) one.shares.push_back({*worker, share.ranks});
    }
    // Both go on from what they have when they start again; all else is short.
    const v1::TaskKind kind = job->task(task).kind();
    if (kind != v1::TASK_KIND_FINETUNE && kind != v1::TASK_KIND_LAYERWISE) continue;
    one.started = FromProto(job->task(task).start_time());
    training.insert(job->id());
  }
  std::vector<Interruptible> interruptible;
  for (const std::string& id : training) interruptible.push_back(std::move(jobs.at(id)));
  return interruptible;
}

void Cluster::FreeWhatPauses(const std::vector<std::string>& workers, std::vector<Capacity>* capacities,
                             std::map<std::string, int>* busy_slots) const {
  for (const auto& [job, task] : Running()) {
    if (!job->IsHeld()) continue;
    for (const WorkerRanks& share : WorkersOf(job->task(task))) {
      if (const auto worker = PositionOf(share.worker, workers)) (*capacities)[*worker].free_slots += share.ranks;
    }
    (*busy_slots)[job->proto().owner()] -= job->task(task).ranks();
  }
}

}  // namespace regroup
