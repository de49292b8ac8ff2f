// All decisions of the coordinator: the jobs that are not final, the workers, and which worker runs which task.
//
// Pure: events come in as calls that carry the time. The results come out as changed jobs and workers (to be stored),
// answers to workers that asked for a task (to be sent once the changes are stored), and replies. An event changes
// memory only. The owner then takes the Effects, stores the changes, and reports the result; if they could not be
// stored, the events are undone. Heartbeats and progress are exempt: they are never stored.
//
// Liveness rests on one rule: an attempt is alive as long as its worker lists it. By the same rule a worker that is
// silent for a lease loses all its attempts, and one that no longer lists an attempt loses that one. A gang on several
// workers must be listed by each of them, except that a helper may end its part before the lead reports the outcome;
// the gang restarts only when none of them can still run a process of the previous attempt.
//
// Not thread-safe. Owned by the core thread (coordinator/core/core.h).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/job/job.h"
#include "coordinator/schedule/journaled_map.h"
#include "coordinator/schedule/placement.h"
#include "coordinator/schedule/preemption.h"
#include "coordinator/schedule/quotas.h"
#include "coordinator/schedule/straggler.h"
#include "regroup/v1/cluster_service.pb.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

struct ClusterOptions {
  Duration lease = std::chrono::seconds(10);
  Duration heartbeat_interval = std::chrono::seconds(2);
  /// An attempt without progress for this long counts as hung.
  Duration watchdog = std::chrono::seconds(300);
  /// Decides which tasks are moved to another worker.
  StragglerRule straggler;
  /// Training that may go on with fewer ranks does so once the live workers could not hold all of them for this long.
  Duration shrink_after = std::chrono::seconds(300);
  /// An attempt that still runs this long after its job was paused is stopped; training then goes on from its last
  /// checkpoint when the job is resumed.
  Duration pause_limit = std::chrono::seconds(300);
  /// True if training is paused while a task of higher priority of the same owner needs its slots.
  bool preempts = false;
  /// Key from which the secrets of gangs are derived; random, known to this process only. Without it no gang spans
  /// workers.
  std::string gang_secret;
  /// New jobs are rejected at this number. Each costs memory, and a little time in every decision.
  size_t max_unfinished_jobs = 10000;
  /// The same for the jobs of one caller; only callers with tokens can be told apart.
  size_t max_unfinished_jobs_per_caller = 2000;
};

/// The answer to AcquireTask call number `ticket`; without an assignment no task was available in time.
struct Answer {
  uint64_t ticket = 0;
  std::optional<v1::TaskAssignment> assignment;
  /// True if there was an assignment that could not be stored.
  bool is_lost = false;
};

class Cluster;

/// The changes since the last Stored or NotStored, each changed job with its next revision, and the answers that wait
/// for them to be stored. The answers come out only with the result of storing, so that none can be sent before. Lives
/// within one turn of the cluster's owner, which feeds no event meanwhile and ends it by one of the two calls.
class [[nodiscard]] Effects {
 public:
  const std::map<std::string, std::optional<Job>>& jobs() const;
  /// Hands over the changes of jobs to store.
  std::vector<JobChange> TakeSealedJobs() { return std::exchange(sealed_jobs_, {}); }
  const std::map<std::string, std::optional<v1::Worker>>& workers() const;
  bool empty() const { return jobs().empty() && workers().empty(); }

  /// Commits the changes after they were stored. Returns the answers to send.
  std::vector<Answer> Stored() &&;
  /// Undoes the changes after storing failed. Returns the answers without their assignments.
  std::vector<Answer> NotStored() &&;

 private:
  friend class Cluster;
  Effects(Cluster* cluster, std::vector<JobChange> sealed_jobs)
      : cluster_(cluster), sealed_jobs_(std::move(sealed_jobs)) {}

  Cluster* cluster_;
  std::vector<JobChange> sealed_jobs_;
};

class Cluster {
 public:
  explicit Cluster(const ClusterOptions& options) : options_(options) {}

  // From the store, at start. Running attempts get one lease to be listed again.
  absl::Status RestoreJob(JobRecord record, Time now);
  void RestoreWorker(v1::Worker worker, Time now);

  // From users. NOT_FOUND for an unknown job or worker; a job in a final state is only in the store.
  void AddJob(Job job);
  absl::Status CancelJob(const std::string& job, Time now);
  absl::Status PauseJob(const std::string& job, Time now);
  absl::Status ResumeJob(const std::string& job, Time now);
  absl::Status SetDraining(const std::string& worker, bool draining);
  /// Replaces the quotas. What runs beyond them goes on.
  void SetQuotas(Quotas quotas) { quotas_ = std::move(quotas); }

  // From workers. Errors: NOT_FOUND (WORKER_NOT_REGISTERED), FAILED_PRECONDITION (STALE_EPOCH). Each event counts only
  // if it comes from the process of the worker that registered last, and an attempt is changed only by a worker that
  // runs it.
  v1::RegisterWorkerResponse Register(const v1::RegisterWorkerRequest& request, Time now);
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request, Time now);
  /// Asks for a task; TakeEffects returns the answer. A second call by a worker ends its first without an assignment.
  absl::Status Acquire(const v1::AcquireTaskRequest& request, uint64_t ticket, Time now);
  void StopAsking(const std::string& worker, uint64_t ticket);
  absl::Status Report(const v1::ReportTaskRequest& request, Time now);
  /// Keeps the progress of the worker's current attempts and the last lines of their logs; ignores other attempts.
  /// CheckSession comes first.
  void NoteProgress(const std::string& worker, const v1::AttemptReport& report);
  /// Returns OK for the process of the worker that registered last; NOT_FOUND (WORKER_NOT_REGISTERED) for any other.
  absl::Status CheckSession(const std::string& worker, uint64_t incarnation) const;

  // From the clock: ends expired leases, time limits and waits; lets jobs give way to others, and go on.
  void Tick(Time now);

  /// Gives waiting tasks to asking workers; if none waits, takes slow tasks from their workers. Call after each batch
  /// of events.
  void PlaceTasks(Time now);

  /// Gives each changed job its next revision and returns the changes. Call after each batch of events and PlaceTasks.
  Effects TakeEffects();

  // Questions.

  const JournaledMap<Job>& jobs() const { return jobs_; }
  const JournaledMap<v1::Worker>& workers() const { return workers_; }

  const ClusterOptions& options() const { return options_; }
  const Quotas& quotas() const { return quotas_; }
  /// Returns the job with the parts that are never stored: why it waits, and the progress of its running tasks.
  v1::Job Describe(const Job& job, Time now) const;
  /// Returns why no task of the job runs; empty while one runs, or if none should.
  std::string WaitingReasonOf(const Job& job, Time now) const;
  /// Returns the reasons of several jobs, computed with one pass over the workers.
  std::vector<std::string> WaitingReasonsOf(const std::vector<const Job*>& jobs, Time now) const;
  /// Returns what each of several jobs waits for: a word of WaitingKind, "pause" before an attempt is retried, "quota"
  /// if its owner uses all slots that it may, empty if a task runs or none should.
  std::vector<std::string_view> WaitingKindsOf(const std::vector<const Job*>& jobs, Time now) const;
  /// Returns the worker with the tasks that it runs now.
  v1::Worker Describe(const v1::Worker& worker, Time now) const;
  /// True if the worker's process has listed the attempt while it ran it. The last lines of its log may still come.
  bool HasRun(const std::string& worker, const v1::AttemptId& attempt) const;
  /// Returns the last progress of the task's current attempt; null before the first report.
  const v1::Progress* ProgressOf(const Job& job, size_t task) const;

 private:
  friend class Effects;
  using TaskKey = std::pair<std::string, std::string>;

  /// State of an attempt as reported by one of its workers.
  struct Presence {
    Time lease_end{};
    /// True once the worker has listed it; from then on, not listing it means that its process is gone.
    bool was_listed = false;
    bool is_listed = false;
    /// True once a helper has reported the end of its part.
    bool has_ended = false;
  };

  /// State of a running attempt that is never stored.
  struct Sighting {
    int64_t epoch = 0;
    std::map<std::string, Presence> workers;
    v1::Progress progress;
    std::deque<std::string> log_tail;
  };

  /// State of a worker that is never stored.
  struct Session {
    bool registered = false;
    uint64_t incarnation = 0;
    Time heartbeat{};
    Time lease_end{};
    bool asking = false;
    uint64_t ticket = 0;
    int offered_slots = 0;
    Time asking_until{};
    /// The last attempts that the process listed while they were its own, oldest first.
    std::deque<v1::AttemptId> attempts;
  };

  struct Waiting {
    const Job* job;
    size_t task;
    Demand demand;
  };

  struct RunningTask {
    const Job* job;
    size_t task;
  };

  /// A worker that may still run a process of an attempt that has ended.
  struct Lingering {
    std::string worker;
    v1::AttemptId attempt;
    Time lease_end{};
  };
  using AttemptList = google::protobuf::RepeatedPtrField<v1::AttemptId>;

  // Attempts.
  Sighting& SightingOf(const Job& job, size_t task, Time now);
  const Sighting* FindSighting(const Job& job, size_t task) const;
  Reached ReachedBy(const Job& job, size_t task) const;
  std::optional<RunningTask> FindRunning(const v1::AttemptId& attempt) const;
  std::vector<RunningTask> RunningOn(const std::string& worker) const;
  /// Returns all running tasks, by job.
  std::vector<RunningTask> Running() const;
  /// Updates the indexes of running and started jobs. Call after changes of jobs were stored or undone.
  void NoteWhatRuns(const std::set<std::string>& changed_jobs);
  std::set<std::string> ChangedJobs() const;
  void NoteListed(const std::string& worker, const AttemptList& listed, Time now);
  AttemptList AttemptsToStop(const std::string& worker, const AttemptList& listed, Time now) const;
  AttemptList AttemptsToPause(const std::string& worker, Time now) const;
  /// Returns true if running attempts of the job must end without keeping their work.
  bool MustStop(const Job& job, Time now) const;
  void LoseAttemptsNotIn(const AttemptList& listed, const std::string& worker, Time now);
  void EndSilentAttempts(Time now);
  /// Returns why the attempt must be given up; empty while it may go on.
  std::string WhyLost(const Job& job, size_t task, Time now);
  absl::Status ReportByHelper(const v1::ReportTaskRequest& request, const RunningTask& running);
  /// Call before ending an attempt on one worker's report or silence: remembers the gang's other workers, which may
  /// still run it.
  void NoteLingering(const Job& job, size_t task, const std::string& teller);
  bool Lingers(const Job& job, size_t task, Time now) const;
  /// Returns the time until which the worker may run the attempt without a heartbeat.
  Time LeaseEndOf(const Job& job, size_t task, const std::string& worker, Time now) const;
  void ForgetEndedAttempts();

  // Effects.
  void Commit();
  void Rollback();

  // Workers.
  void AnswerWithNothing(Session* session);
  bool IsAlive(const std::string& worker, Time now) const;
  Capacity CapacityOf(const v1::Worker& worker, int busy_slots) const;
  std::vector<Capacity> CapacitiesOf(const std::vector<std::string>& names) const;
  std::vector<std::string> LiveWorkers(Time now) const;

  // Moves.
  std::vector<RunningTask> Stragglers(Time now) const;
  void MoveStragglers(Time now);
  void Move(const RunningTask& running, Time now);
  /// Returns the worker that the task was taken from and should not go back to; empty if there is none.
  std::string AvoidedBy(const Job& job, size_t task) const;
  /// Returns the worker whose machine may have been the reason why the task's last attempt failed: its memory, its
  /// disk, its GPUs. Empty if there is none.
  static std::string FailedOn(const Job& job, size_t task);
  void ForgetMovesOfEndedJobs();

  // Preemption.
  void ResumeWhatGaveWay(Time now);
  void MakeWay(Time now);
  /// Returns true if the job still uses or may soon use slots that another one gave up for it. Workers that could hold
  /// its tasks may be missing for a lease: they come back one after the other when the coordinator restarts.
  bool NeedsItsSlots(const std::string& job, const std::vector<Capacity>& capacities, Time now);
  /// Returns the jobs that train and may be paused. Their shares are positions in `workers`.
  std::vector<Interruptible> InterruptibleJobs(const std::vector<std::string>& workers) const;
  /// Returns true if one of them may have to give way. Cheap, because most ticks have nothing to do.
  bool SomeJobOutranks(const std::vector<Interruptible>& running) const;
  /// Counts the slots of jobs that already pause as free.
  void FreeWhatPauses(const std::vector<std::string>& workers, std::vector<Capacity>* capacities,
                      std::map<std::string, int>* busy_slots) const;
  /// Returns true if live workers and the owner's quota could hold the task.
  bool CouldEverRun(const Job& job, const Demand& demand, const std::vector<Capacity>& capacities) const;

  /// Returns true if the job should go on but none of its tasks runs.
  static bool IsWaiting(const Job& job);

  // Placement.
  Demand DemandOf(const Job& job, size_t task, Time now) const;
  /// Notes since when the live workers could not hold all ranks of tasks that may go on with fewer.
  void NoteWhatCannotBeHeld(Time now);
  std::vector<Waiting> WaitingTasks(Time now) const;
  /// Returns the slots of each owner's running tasks.
  std::map<std::string, int> BusySlots() const;
  /// Points the demands to the budgets of their owners, who use `busy_slots`, and returns those.
  std::vector<Budget> BudgetsOf(const std::vector<Waiting>& waiting, const std::map<std::string, int>& busy_slots,
                                std::vector<Demand>* demands) const;
  /// Returns why the owner's quota keeps the task from running; empty if it does not.
  std::string QuotaReason(const Job& job, const Demand& demand, const std::map<std::string, int>& busy_slots) const;
  void StartTask(const std::string& job, size_t task, const std::vector<WorkerRanks>& workers, Time now);
  v1::Gang GangOf(const v1::AttemptId& attempt, const std::vector<WorkerRanks>& workers) const;

  ClusterOptions options_;
  Quotas quotas_;
  JournaledMap<Job> jobs_;
  JournaledMap<v1::Worker> workers_;
  std::map<std::string, Session> sessions_;
  std::map<TaskKey, Sighting> sightings_;
  /// Ids of all jobs with a running task, and possibly of some that no longer have one: most jobs only wait.
  std::set<std::string> running_jobs_;
  /// Ids of all jobs that have started and not ended.
  std::set<std::string> started_jobs_;
  std::vector<Lingering> lingering_;
  /// Epochs of the attempts that were taken from slow workers. Not stored: after a restart, or when its job is retried,
  /// a task may be moved once more.
  std::map<TaskKey, int64_t> moves_;
  /// Since when no live workers could hold all ranks of a task that may go on with fewer. Not stored: after a restart,
  /// workers come back one after the other.
  std::map<TaskKey, Time> unheld_since_;
  /// Since when no live workers could hold a task of a job for which another one gave way. Not stored.
  std::map<std::string, Time> stuck_since_;
  std::vector<Answer> answers_;
};

}  // namespace regroup
