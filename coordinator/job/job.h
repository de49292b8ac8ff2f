// A job as the coordinator sees it: its tasks, what each waits for, and what happens next. Start reading here.
//
//   QUEUED --first task starts--> RUNNING <--> RECOVERING   (a task lost its worker and is started again)
//      |                            |
//      '----------- Cancel ---------+--> CANCELLING --no task runs any more--> CANCELLED
//                                   +--> SUCCEEDED   (all tasks did)
//                                   '--> FAILED      (a task failed for good, and no other runs any more)
//
// A task goes BLOCKED -> READY -> RUNNING -> SUCCEEDED | FAILED | CANCELLED, and from RUNNING back to READY when its
// attempt failed and deserves another. Each attempt has the next epoch; only the current one is listened to.
//
// The class is pure: every event brings its time along and changes nothing but the object, so that any order of events
// can be replayed. It is a value; not thread-safe. Its owner is the Cluster.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/job/graph.h"
#include "coordinator/job/retry.h"
#include "coordinator/job/time.h"
#include "regroup/v1/job.pb.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// A job as the store keeps it: what everybody sees, and what the coordinator remembers besides.
struct JobRecord {
  v1::Job job;
  /// One for each of job.tasks.
  std::vector<RetryState> retries;
  /// An attempt of the report task was told that it may publish. Its rename may have happened, so from here on the job
  /// can no longer be cancelled.
  bool publication_granted = false;
};

/// A job after a change, and which of its tasks the change concerns. A new job has all of them.
struct JobChange {
  JobRecord record;
  std::vector<size_t> changed_tasks;
};

/// How far an attempt got before it ended.
struct Reached {
  int64_t done = 0;
  std::vector<std::string> log_tail;
};

/// A worker's id, and how many ranks of a task it runs.
struct WorkerRanks {
  std::string worker;
  int ranks = 1;
};

class Job {
 public:
  /// A new job, QUEUED, whose inspect task is READY.
  static Job Create(const std::string& id, const v1::JobSpec& spec, const v1::JobSpec& resolved, Time now,
                    const std::string& owner = "");

  /// A job from the store. INTERNAL if its tasks are not those of its graph: another version of Regroup made it.
  static absl::StatusOr<Job> Restore(JobRecord record);

  // Events.

  /// Starts the next attempt of a READY task on one worker, or on several of which the first leads. Returns its epoch.
  int64_t Start(size_t task, const std::vector<WorkerRanks>& workers, Time now);
  int64_t Start(size_t task, const std::string& worker, Time now);

  /// The current attempt of a RUNNING task ended by itself.
  void Finish(size_t task, const v1::TaskOutcome& outcome, const Reached& reached, Time now);

  /// The current attempt of a RUNNING task is lost, for example with its worker.
  void Lose(size_t task, const std::string& why, const Reached& reached, Time now);

  /// The current attempt of a RUNNING task is given up although its worker is well, to start it elsewhere at once. It
  /// counts as a loss of infrastructure, but not as a restart without progress.
  void Move(size_t task, const std::string& why, Time now);

  /// Stops the job; a job in a final state stays as it is. FAILED_PRECONDITION (WRONG_STATE) once it may have
  /// published.
  absl::Status Cancel(Time now);

  /// Starts the unfinished tasks of a FAILED or CANCELLED job again, with new budgets. FAILED_PRECONDITION
  /// (WRONG_STATE) otherwise.
  absl::Status Retry(Time now);

  /// Fails the job if it has run for longer than resources.max_runtime_s. Returns whether it did.
  bool FailIfOverdue(Time now);

  /// Records that the running report task may publish.
  void GrantPublication() { record_.publication_granted = true; }

  /// Called once for each durable change.
  void NextRevision() { record_.job.set_revision(record_.job.revision() + 1); }

  // Questions.

  const JobRecord& record() const { return record_; }
  const v1::Job& proto() const { return record_.job; }
  const std::string& id() const { return id_; }
  const Graph& graph() const { return *graph_; }
  const v1::Task& task(size_t position) const { return record_.job.tasks(static_cast<int>(position)); }
  size_t task_count() const { return static_cast<size_t>(record_.job.tasks_size()); }
  std::optional<size_t> FindTask(const std::string& task_id) const;
  /// Returns the folder of the task's current or last attempt's results, relative to the working folder.
  std::string ResultFolder(size_t task) const;

  /// SUCCEEDED, FAILED or CANCELLED.
  bool IsFinal() const;
  /// Nothing new starts, and what runs is to be stopped: the job is cancelled, or one of its tasks failed for good.
  bool IsWindingDown() const { return proto().state() == v1::JOB_STATE_CANCELLING || proto().has_failure(); }
  bool IsOverdue(Time now) const;
  /// Tasks that may start now, in order.
  std::vector<size_t> ReadyTasks(Time now) const;
  std::vector<size_t> RunningTasks() const;
  /// Tasks that are not as they were; all of them where there was no job before.
  std::vector<size_t> TasksChangedSince(const std::optional<Job>& before) const;
  bool HasChangedSince(const std::optional<Job>& before) const;

 private:
  Job(JobRecord record, std::shared_ptr<const Graph> graph);

  v1::Task& MutableTask(size_t position) { return *record_.job.mutable_tasks(static_cast<int>(position)); }
  void Succeed(size_t task, const v1::TaskOutcome& outcome);
  void Fail(size_t task, v1::Failure failure, const Reached& reached, Time now);
  void FailForGood(const v1::Failure& failure);
  void ExpandGraph();
  void AppendTask(size_t position);
  void UnblockTasks();
  void CancelWaitingTasks();
  bool NeedsAreMet(size_t task) const;
  bool HasTaskIn(v1::TaskState state) const;
  bool AllTasksSucceeded() const;
  bool IsRecovering() const;
  int64_t CheckpointAt(size_t task, int64_t done) const;
  std::string ReportFolder(size_t task, const v1::TaskOutcome& outcome) const;
  v1::JobState NextState() const;
  void Settle(Time now);

  std::string id_;
  JobRecord record_;
  /// Shared between copies; replaced when `inspect` is done.
  std::shared_ptr<const Graph> graph_;
};

/// The workers of a task's current or last attempt, the lead first; none before the first.
std::vector<WorkerRanks> WorkersOf(const v1::Task& task);

}  // namespace regroup
