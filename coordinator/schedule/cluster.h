// Everything the coordinator decides: the jobs that are not final, the workers, and who runs what.
//
// Pure: events come in as calls that bring the time along; what has to happen comes out as changed jobs and workers
// (to be stored), answers to workers that asked for a task (to be sent once the changes are stored), and replies. An
// event changes memory only. The owner then takes the Effects, stores the changes, and says how that went; where they
// could not be stored, it is as if the events had never come. Signs of life and progress are not part of that: they are
// never stored.
//
// Liveness rests on one rule: an attempt lives as long as its worker lists it. A worker that is silent for a lease
// loses all its attempts by the same rule as one that forgot a single attempt. A gang on several workers must be listed
// by each of them, except that a helper may end its part before the lead tells how the attempt ended; and it starts
// again only when none of them can still run a process of the attempt before.
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
#include "coordinator/schedule/straggler.h"
#include "regroup/v1/cluster_service.pb.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

struct ClusterOptions {
  Duration lease = std::chrono::seconds(10);
  Duration heartbeat_interval = std::chrono::seconds(2);
  /// An attempt without progress for this long counts as hung.
  Duration watchdog = std::chrono::seconds(300);
  /// Which tasks are moved to another worker.
  StragglerRule straggler;
  /// What the secrets of gangs are made from; random, of this process alone.
  std::string gang_secret;
  /// New ones are refused above this. Each costs memory, and a little time in every decision.
  size_t max_unfinished_jobs = 10000;
};

/// The answer to AcquireTask call number `ticket`; without an assignment there was nothing to do in time.
struct Answer {
  uint64_t ticket = 0;
  std::optional<v1::TaskAssignment> assignment;
  /// There was an assignment, which could not be stored.
  bool is_lost = false;
};

class Cluster;

/// What the events since the last time have changed, each changed job with its next revision, and the answers that wait
/// for it to be stored. An answer comes out only for the word of how storing went, so that nobody can send it before.
/// Lives within one turn of the cluster's owner, which feeds no event meanwhile.
class [[nodiscard]] Effects {
 public:
  const std::map<std::string, std::optional<Job>>& jobs() const;
  /// What to store of the changed jobs.
  const std::vector<JobChange>& sealed_jobs() const { return sealed_jobs_; }
  const std::map<std::string, std::optional<v1::Worker>>& workers() const;
  bool empty() const { return jobs().empty() && workers().empty(); }

  /// Everything is stored. Returns the answers to send.
  std::vector<Answer> Stored() &&;
  /// Nothing is stored: undoes the changes. Returns the answers, without what they would have given away.
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

  // From the store, at start. What ran is given one lease to be listed again.
  absl::Status RestoreJob(JobRecord record, Time now);
  void RestoreWorker(v1::Worker worker, Time now);

  // From users. NOT_FOUND for a job or worker that is not here: a job in a final state is only in the store.
  void AddJob(Job job);
  absl::Status CancelJob(const std::string& job, Time now);
  absl::Status SetDraining(const std::string& worker, bool draining);

  // From workers. Errors: NOT_FOUND (WORKER_NOT_REGISTERED), FAILED_PRECONDITION (STALE_EPOCH).
  v1::RegisterWorkerResponse Register(const v1::RegisterWorkerRequest& request, Time now);
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request, Time now);
  /// The answer comes out of TakeEffects. A second call of a worker ends its first without an assignment.
  absl::Status Acquire(const v1::AcquireTaskRequest& request, uint64_t ticket, Time now);
  void StopAsking(const std::string& worker, uint64_t ticket);
  absl::Status Report(const v1::ReportTaskRequest& request, Time now);
  /// Progress of current attempts, and the last lines of their logs; anything else is ignored.
  void NoteProgress(const v1::AttemptReport& report);

  // From the clock: leases, time limits and waits that ran out.
  void Tick(Time now);

  /// Gives waiting tasks to asking workers; where nothing waits, takes slow tasks from theirs. Called after each batch
  /// of events.
  void PlaceTasks(Time now);

  /// Gives each changed job its next revision. Called after each batch of events and PlaceTasks.
  Effects TakeEffects();

  // Questions.

  const JournaledMap<Job>& jobs() const { return jobs_; }
  const JournaledMap<v1::Worker>& workers() const { return workers_; }

  const ClusterOptions& options() const { return options_; }
  /// The job with what is never stored: why it waits, and the progress of its running tasks.
  v1::Job Describe(const Job& job, Time now) const;
  /// Why no task of the job runs; empty while one does, and where nothing is to be run.
  std::string WaitingReasonOf(const Job& job, Time now) const;
  /// The same for each of several jobs, in one look at the workers.
  std::vector<std::string> WaitingReasonsOf(const std::vector<const Job*>& jobs, Time now) const;
  /// What each of several jobs waits for: WaitingKind's words, "pause" before an attempt is repeated, empty where a
  /// task runs or none is to.
  std::vector<std::string_view> WaitingKindsOf(const std::vector<const Job*>& jobs, Time now) const;
  /// The worker with what it runs now.
  v1::Worker Describe(const v1::Worker& worker, Time now) const;
  /// The last progress of the task's current attempt; null before the first.
  const v1::Progress* ProgressOf(const Job& job, size_t task) const;

 private:
  friend class Effects;
  using TaskKey = std::pair<std::string, std::string>;

  /// What one of an attempt's workers says of it.
  struct Presence {
    Time lease_end{};
    /// The worker has listed it, so from now on not listing it means that its process is gone.
    bool was_listed = false;
    bool is_listed = false;
    /// A helper has said that its part is over.
    bool has_ended = false;
  };

  /// What is known of a running attempt and not worth storing.
  struct Sighting {
    int64_t epoch = 0;
    std::map<std::string, Presence> workers;
    v1::Progress progress;
    std::deque<std::string> log_tail;
  };

  /// What is known of a worker and not worth storing.
  struct Session {
    bool registered = false;
    uint64_t incarnation = 0;
    Time heartbeat{};
    Time lease_end{};
    bool asking = false;
    uint64_t ticket = 0;
    int offered_slots = 0;
    Time asking_until{};
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
  /// All of them, by job.
  std::vector<RunningTask> Running() const;
  /// After changes of jobs were stored or undone.
  void NoteWhatRuns(const std::set<std::string>& changed_jobs);
  std::set<std::string> ChangedJobs() const;
  void NoteListed(const std::string& worker, const AttemptList& listed, Time now);
  AttemptList AttemptsToStop(const std::string& worker, const AttemptList& listed) const;
  void LoseAttemptsNotIn(const AttemptList& listed, const std::string& worker, Time now);
  void EndSilentAttempts(Time now);
  /// Why the attempt has to be given up; empty while it may go on.
  std::string WhyLost(const Job& job, size_t task, Time now);
  absl::Status ReportByHelper(const v1::ReportTaskRequest& request, const RunningTask& running);
  /// Before an attempt ends by what `teller` said or did: the others of its gang may still run.
  void NoteLingering(const Job& job, size_t task, const std::string& teller);
  bool Lingers(const Job& job, size_t task, Time now) const;
  /// Until when the worker may run the attempt without having been heard.
  Time LeaseEndOf(const Job& job, size_t task, const std::string& worker, Time now) const;
  void ForgetEndedAttempts();

  // Effects.
  void Commit();
  void Rollback();

  // Workers.
  absl::Status CheckSession(const std::string& worker, uint64_t incarnation) const;
  void AnswerWithNothing(Session* session);
  bool IsAlive(const std::string& worker, Time now) const;
  Capacity CapacityOf(const v1::Worker& worker, int busy_slots) const;
  std::vector<Capacity> CapacitiesOf(const std::vector<std::string>& names) const;
  std::vector<std::string> LiveWorkers(Time now) const;

  // Moves.
  std::vector<RunningTask> Stragglers(Time now) const;
  void MoveStragglers(Time now);
  void Move(const RunningTask& running, Time now);
  /// The worker that the task was taken from and should not go back to; empty for none.
  std::string AvoidedBy(const Job& job, size_t task) const;
  void ForgetMovesOfEndedJobs();

  /// Whether no task of the job runs though the job is to go on.
  static bool IsWaiting(const Job& job);

  // Placement.
  static Demand DemandOf(const Job& job, size_t task);
  std::vector<Waiting> WaitingTasks(Time now) const;
  void StartTask(const std::string& job, size_t task, const std::vector<WorkerRanks>& workers, Time now);
  v1::Gang GangOf(const v1::AttemptId& attempt, const std::vector<WorkerRanks>& workers) const;

  ClusterOptions options_;
  JournaledMap<Job> jobs_;
  JournaledMap<v1::Worker> workers_;
  std::map<std::string, Session> sessions_;
  std::map<TaskKey, Sighting> sightings_;
  /// Ids of all jobs with a running task, and perhaps of some that have none any more: most jobs only wait.
  std::set<std::string> running_jobs_;
  /// Ids of all jobs that have started and not ended.
  std::set<std::string> started_jobs_;
  std::vector<Lingering> lingering_;
  /// The attempts that were taken from slow workers, by their epoch. Not stored: after a restart, or when its job is
  /// retried, a task may be moved once more.
  std::map<TaskKey, int64_t> moves_;
  std::vector<Answer> answers_;
};

}  // namespace regroup
